# They need a real dockerd, which hack/with-dockerd starts; skipped where that is
# impossible. The registry of the second is Debian's docker-registry.
foreach(part engine features kill registry)
  drover_test(test_docker_${part}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_docker_${part}.c
      ${CMAKE_CURRENT_SOURCE_DIR}/docker_fixture.c
    DEPS runner_docker LABELS integration TIMEOUT 300)
  set_property(TEST test_docker_${part} PROPERTY SKIP_RETURN_CODE 77)
  set_property(TEST test_docker_${part} PROPERTY RESOURCE_LOCK dockerd)
  set_property(TEST test_docker_${part} APPEND PROPERTY ENVIRONMENT
    "WITH_DOCKERD=${CMAKE_SOURCE_DIR}/hack/with-dockerd"
    "WITH_REGISTRY=${CMAKE_SOURCE_DIR}/hack/with-registry")
endforeach()
drover_test(test_docker_podman
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_docker_podman.c
    ${CMAKE_CURRENT_SOURCE_DIR}/docker_fixture.c
  DEPS runner_docker LABELS integration TIMEOUT 200)
set_property(TEST test_docker_podman PROPERTY SKIP_RETURN_CODE 77)
set_property(TEST test_docker_podman APPEND PROPERTY ENVIRONMENT
  "WITH_PODMAN=${CMAKE_SOURCE_DIR}/hack/with-podman")
drover_test(test_docker_fake
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_docker_fake.c
    ${CMAKE_CURRENT_SOURCE_DIR}/docker_fixture.c
  DEPS runner_docker LABELS integration TIMEOUT 120)

foreach(part agent event)
  drover_test(test_runner_${part}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_runner_${part}.c
      ${CMAKE_CURRENT_SOURCE_DIR}/runner_fake_api.c
      ${CMAKE_CURRENT_SOURCE_DIR}/runner_fake_engine.c
    DEPS runner_core LABELS integration TIMEOUT 120)
endforeach()
