# penstock_module(NAME DEPS a b … LIBS x y …)
#
# One static library per folder of src/: every .cc of the folder and its sub-folders, except tests, is
# the library penstock_NAME; every *_test.cc goes into one test program, NAME_test.
# DEPS are other modules (the edges that docs/design.md allows; tests/check_includes.py checks the
# includes themselves), LIBS third-party targets. TEST_DEPS are modules that only the tests need.
function(penstock_module name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS;TEST_DEPS;TEST_LIBS;EXCLUDE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  foreach(pattern ${ARG_EXCLUDE})
    list(FILTER sources EXCLUDE REGEX "${pattern}")
    list(FILTER tests EXCLUDE REGEX "${pattern}")
  endforeach()
  list(TRANSFORM ARG_DEPS PREPEND penstock_)
  list(TRANSFORM ARG_TEST_DEPS PREPEND penstock_)

  if(sources)
    add_library(penstock_${name} STATIC ${sources})
    target_include_directories(penstock_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(penstock_${name} PUBLIC ${ARG_DEPS} ${ARG_LIBS})
    penstock_warnings(penstock_${name})
  else()
    add_library(penstock_${name} INTERFACE)
    target_include_directories(penstock_${name} INTERFACE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(penstock_${name} INTERFACE ${ARG_DEPS} ${ARG_LIBS})
  endif()

  if(PENSTOCK_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE penstock_${name} ${ARG_TEST_DEPS} ${ARG_TEST_LIBS} GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE PENSTOCK_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    penstock_warnings(${name}_test)
    add_test(NAME ${name} COMMAND ${name}_test --gtest_brief=1)
  endif()
endfunction()

function(penstock_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra $<$<BOOL:${PENSTOCK_WERROR}>:-Werror>)
endfunction()
