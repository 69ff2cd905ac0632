# Functions of a file that is compiled for one instruction set must stay in it: of a weak symbol the linker keeps one for
# all files, perhaps one that not every processor can run.
#   cmake -DNM=... -DOBJECTS=... -P check_symbols.cmake
set(checked 0)
foreach(object ${OBJECTS})
  if(NOT object MATCHES "/(scalar|avx2|avx512)/")
    continue()
  endif()
  execute_process(COMMAND ${NM} --demangle ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* [WVuw] [^\n]*" weak "${symbols}")
  if(weak)
    message(FATAL_ERROR "${object} has weak symbols: ${weak}")
  endif()
  math(EXPR checked "${checked} + 1")
endforeach()
if(checked EQUAL 0)
  message(FATAL_ERROR "no object of an instruction set among ${OBJECTS}")
endif()
message(STATUS "${checked} objects, no weak symbols")
