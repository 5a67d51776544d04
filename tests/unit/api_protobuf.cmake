drover_test(test_api_protobuf SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_protobuf.c
            DEPS api LABELS unit)
target_compile_definitions(test_api_protobuf PRIVATE
  VECTORS="${CMAKE_CURRENT_SOURCE_DIR}/vectors")
drover_test(test_api_logic SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_logic.c
            DEPS api LABELS unit)
