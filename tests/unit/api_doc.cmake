foreach(t jtok canon object kind decode yaml selector)
  drover_test(test_api_${t} SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_${t}.c
              DEPS api LABELS unit)
endforeach()
