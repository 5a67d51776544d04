foreach(t json decode yaml selector jsonpath protobuf crd)
  drover_fuzz(api_${t} SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_api_${t}.c DEPS api)
endforeach()
