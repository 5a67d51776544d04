foreach(t file state)
  drover_fuzz(mirror_${t} SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_mirror_${t}.c DEPS mirror)
endforeach()
