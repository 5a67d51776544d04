foreach(name request strategic query)
  drover_fuzz(${name}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_${name}.c
    DEPS apiserver_core)
endforeach()
