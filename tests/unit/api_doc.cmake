foreach(t jtok canon object kind yaml selector formats rules)
  drover_test(test_api_${t} SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_${t}.c
              DEPS api LABELS unit)
endforeach()
drover_test(test_api_decode SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_api_decode.c
            DEPS api LABELS unit threads)

# Not a test: prints figures. ninja bench_decode && bin/bench_decode
add_executable(bench_decode EXCLUDE_FROM_ALL
               ${CMAKE_CURRENT_SOURCE_DIR}/../bench/bench_decode.c)
target_link_libraries(bench_decode PRIVATE drover_options api)
target_compile_definitions(bench_decode PRIVATE DROVER_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
