foreach(name values resources patch)
  drover_test(test_api_${name}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_${name}.c DEPS api LABELS unit)
endforeach()
drover_test(test_api_managed
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_managed.c
          ${CMAKE_CURRENT_SOURCE_DIR}/managed_script.c
  DEPS api LABELS unit)
drover_test(test_api_managed_fast
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_managed_fast.c
          ${CMAKE_CURRENT_SOURCE_DIR}/managed_script.c
  DEPS api LABELS unit)
