# The agent's pure parts and the docker engine's, and its requests.
foreach(part plan journal view idle server)
  drover_test(test_runner_${part}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_${part}.c
    DEPS runner_core LABELS unit)
endforeach()
drover_test(test_runner_docker_spec
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_docker_spec.c
  DEPS runner_docker LABELS unit)
drover_test(test_runner_docker
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_docker.c
  DEPS runner_docker LABELS unit)
