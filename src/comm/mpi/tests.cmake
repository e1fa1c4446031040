# Tests of several processes: every *_mpi_test.cc, and the tests that any Communicator passes, under mpirun.
file(GLOB mpi_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/mpi/*_mpi_test.cc)
add_executable(comm_mpi_test ${mpi_tests} collectives_test.cc)
target_link_libraries(comm_mpi_test PRIVATE penstock_comm MPI::MPI_CXX GTest::gtest)
penstock_warnings(comm_mpi_test)

# mpi_test(NAME TRANSPORTS ARGS…): four ranks of comm_mpi_test. Without --bind-to none they would share one core.
function(mpi_test name transports)
  add_test(NAME ${name} COMMAND ${MPIEXEC_EXECUTABLE} -n 4 --bind-to none --oversubscribe
                                --mca btl ${transports} $<TARGET_FILE:comm_mpi_test> --gtest_brief=1 ${ARGN})
  set_tests_properties(${name} PROPERTIES TIMEOUT 60 PROCESSORS 2
    ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
endfunction()
mpi_test(comm_mpi vader,self)
mpi_test(comm_mpi_tcp tcp,self)

add_executable(net_probe ${CMAKE_SOURCE_DIR}/tests/net/net_probe.cc)
target_link_libraries(net_probe PRIVATE penstock_comm)
penstock_warnings(net_probe)
add_executable(delay_link ${CMAKE_SOURCE_DIR}/tests/net/delay_link.cc)
target_link_libraries(delay_link PRIVATE Threads::Threads)
penstock_warnings(delay_link)

find_package(Python3 REQUIRED COMPONENTS Interpreter)
add_test(NAME lost_rank COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tests/net/test_lost_rank.py
                                $<TARGET_FILE:net_probe> ${MPIEXEC_EXECUTABLE})
set_tests_properties(lost_rank PROPERTIES TIMEOUT 200 RUN_SERIAL TRUE)  # two seconds are all that it has
