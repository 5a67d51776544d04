# The agent's pure parts and the docker engine's.
if(TARGET runner_docker)
  drover_test(test_runner_docker
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_docker.c
    DEPS runner_docker LABELS unit)
endif()
