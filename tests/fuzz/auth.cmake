drover_fuzz(auth_token SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_auth_token.c DEPS apiserver_core)
drover_fuzz(auth_review
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_auth_review.c
          ${CMAKE_CURRENT_SOURCE_DIR}/../integration/api_fixture.c
  DEPS apiserver_core)
target_include_directories(fuzz_auth_review PRIVATE ${CMAKE_SOURCE_DIR}/tests)
target_link_libraries(fuzz_auth_review PRIVATE cmocka)
