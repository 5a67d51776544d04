# Build rules shared by all directories: warnings, sanitizers, hardening, and the helpers
# that keep the layers apart (a target sees the headers of what it links, nothing else).

set(CMAKE_C_FLAGS_RELEASE "-O2")

add_library(drover_options INTERFACE)
target_compile_features(drover_options INTERFACE c_std_17)
target_compile_definitions(drover_options INTERFACE _GNU_SOURCE
                           DROVER_VERSION="${PROJECT_VERSION}")
target_compile_options(drover_options INTERFACE
  -std=gnu17 -fno-strict-aliasing
  -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wundef -Wstrict-prototypes -Wmissing-prototypes
  -Wpointer-arith -Wcast-qual -Wwrite-strings -Wimplicit-fallthrough -Wswitch-enum
  -include ${CMAKE_SOURCE_DIR}/lib/base/banned.h)
target_include_directories(drover_options INTERFACE ${CMAKE_SOURCE_DIR}/lib)
if(DROVER_WERROR)
  target_compile_options(drover_options INTERFACE -Werror)
endif()
if(DROVER_SANITIZE)
  target_compile_options(drover_options INTERFACE
    -fsanitize=${DROVER_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(drover_options INTERFACE -fsanitize=${DROVER_SANITIZE})
  if(DROVER_SANITIZE MATCHES "undefined")
    target_compile_options(drover_options INTERFACE -fno-sanitize-recover=undefined)
  endif()
  target_compile_definitions(drover_options INTERFACE DROVER_SANITIZED=1)
endif()
if(DROVER_FUZZ)
  # Coverage feedback from the libraries too, not only from the target itself.
  target_compile_options(drover_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(drover_options INTERFACE
    -g -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fPIE -ffunction-sections -fdata-sections)
  target_link_options(drover_options INTERFACE -pie -Wl,-z,relro,-z,now,--gc-sections)
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

# drover_library(<name> DEPS <targets...>): all *.c files of this directory.
function(drover_library name)
  cmake_parse_arguments(ARG "" "" "DEPS;SOURCES" ${ARGN})
  if(NOT ARG_SOURCES)
    file(GLOB ARG_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
  endif()
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC drover_options ${ARG_DEPS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
endfunction()

# drover_program(<name> SOURCES <files...> DEPS <targets...>)
function(drover_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE drover_options ${ARG_DEPS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

add_custom_target(threads COMMENT "tests that also run under ThreadSanitizer")

# drover_test(<name> SOURCES <files...> DEPS <targets...> LABELS <labels...>)
# Labels choose the stage: unit, integration, threads (also run under TSan), sim.
function(drover_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE drover_options ${ARG_DEPS} PkgConfig::CMOCKA)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE DROVER_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  if("threads" IN_LIST ARG_LABELS)
    add_dependencies(threads ${name})
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "ASAN_OPTIONS=abort_on_error=1;UBSAN_OPTIONS=print_stacktrace=1;TSAN_OPTIONS=halt_on_error=1")
endfunction()

# drover_fuzz(<name> SOURCES <file> DEPS <targets...>): LLVMFuzzerTestOneInput in SOURCES,
# corpus in tests/fuzz/corpus/<name>/. Without DROVER_FUZZ it replays the corpus as a test.
function(drover_fuzz name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  set(corpus ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
  if(DROVER_FUZZ)
    add_executable(fuzz_${name} ${ARG_SOURCES})
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  else()
    add_executable(fuzz_${name} ${ARG_SOURCES} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay_main.c)
    add_test(NAME fuzz_${name} COMMAND fuzz_${name} ${corpus})
    set_tests_properties(fuzz_${name} PROPERTIES LABELS "fuzz" TIMEOUT 60)
  endif()
  target_link_libraries(fuzz_${name} PRIVATE drover_options ${ARG_DEPS})
  target_include_directories(fuzz_${name} PRIVATE ${CMAKE_SOURCE_DIR})
endfunction()
