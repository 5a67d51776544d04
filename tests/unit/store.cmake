set(store_fixture ${CMAKE_CURRENT_SOURCE_DIR}/store_fixture.c)
foreach(t index commit watch log snapshot fault)
  drover_test(test_store_${t}
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/test_store_${t}.c ${store_fixture}
    DEPS store api io base LABELS unit threads)
endforeach()
