drover_fuzz(runner_docker SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_runner_docker.c
            DEPS runner_docker)
drover_fuzz(runner_records SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_runner_records.c
            DEPS runner_core)
drover_fuzz(runner_gpu SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_runner_gpu.c
            DEPS runner_gpu)
