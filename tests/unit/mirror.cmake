foreach(t plan files)
  drover_test(test_mirror_${t} SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_mirror_${t}.c
              DEPS mirror LABELS unit)
endforeach()
