foreach(name values managed patch dstack)
  drover_fuzz(api_${name}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_api_${name}.c DEPS api)
endforeach()
