drover_fuzz(runner_docker SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_runner_docker.c
            DEPS runner_docker)
