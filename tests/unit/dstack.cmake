foreach(name dstack run_update)
  drover_test(test_api_${name}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_${name}.c DEPS api LABELS unit)
endforeach()
