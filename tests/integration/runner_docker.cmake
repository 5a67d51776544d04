# Needs a real dockerd, which hack/with-dockerd starts; skipped where that is impossible.
drover_test(test_docker_engine
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_docker_engine.c
  DEPS runner_docker LABELS integration TIMEOUT 300)
set_property(TEST test_docker_engine PROPERTY SKIP_RETURN_CODE 77)
set_property(TEST test_docker_engine PROPERTY RESOURCE_LOCK dockerd)
set_property(TEST test_docker_engine APPEND PROPERTY ENVIRONMENT
  "WITH_DOCKERD=${CMAKE_SOURCE_DIR}/hack/with-dockerd")

drover_test(test_runner_agent
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_agent.c
    ${CMAKE_CURRENT_SOURCE_DIR}/runner_fake_api.c
  DEPS runner_core LABELS integration TIMEOUT 120)
