# One place for the flags that every library of ours is built with.
add_library(mediafs_flags INTERFACE)
target_include_directories(mediafs_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(mediafs_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wconversion
                       -Wno-sign-conversion -Wold-style-cast -Woverloaded-virtual)
# Errors for those who build the tests: a user's newer compiler may warn of what ours does not.
if(NOT DEFINED MEDIAFS_TESTS OR MEDIAFS_TESTS)
  target_compile_options(mediafs_flags INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(mediafs_flags INTERFACE -Wno-restrict)  # GCC bug 105651: false on std::string's operator+
endif()
target_compile_definitions(mediafs_flags INTERFACE _FILE_OFFSET_BITS=64 FUSE_USE_VERSION=314)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees uninitialized strings in every tl::expected<std::string, …> that it optimizes; clang sees none.
  target_compile_options(mediafs_flags INTERFACE -Wno-maybe-uninitialized)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(mediafs_flags INTERFACE -Wthread-safety -Wthread-safety-beta)
endif()
if(MEDIAFS_SANITIZE STREQUAL "address")
  target_compile_options(mediafs_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined
                         -fno-omit-frame-pointer)
  target_link_options(mediafs_flags INTERFACE -fsanitize=address,undefined)
elseif(MEDIAFS_SANITIZE STREQUAL "thread")
  target_compile_options(mediafs_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(mediafs_flags INTERFACE -fsanitize=thread)
endif()

# mediafs_precompiled(TARGET): the standard library's headers are read once for all. Off by default: a file has to say what
# it includes.
option(MEDIAFS_PCH "Precompile the standard library's headers" OFF)
function(mediafs_precompiled name)
  if(NOT MEDIAFS_PCH)
    return()
  endif()
  if(NOT TARGET mediafs_pch)
    file(WRITE ${PROJECT_BINARY_DIR}/pch.cpp "")
    add_library(mediafs_pch OBJECT ${PROJECT_BINARY_DIR}/pch.cpp)
    target_link_libraries(mediafs_pch PRIVATE mediafs_flags Threads::Threads)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
      target_compile_options(mediafs_flags INTERFACE "SHELL:-Xclang -fno-pch-timestamp")  # for ccache
    endif()
    target_precompile_headers(mediafs_pch PRIVATE <algorithm> <array> <atomic> <chrono> <condition_variable> <cstdint>
      <deque> <functional> <map> <memory> <mutex> <optional> <set> <span> <sstream> <stop_token> <string> <string_view>
      <thread> <tl/expected.hpp> <unordered_map> <unordered_set> <utility> <variant> <vector>)
  endif()
  target_precompile_headers(${name} REUSE_FROM mediafs_pch)
endfunction()

# What the tests labelled unit and servers run, without the program itself: all that a sanitizer's build needs.
add_custom_target(suites)

# mediafs_test(NAME SOURCES file... LIBS lib...): one doctest binary a library. Its own sources are not worth optimizing.
function(mediafs_test name)
  cmake_parse_arguments(T "" "" "SOURCES;LIBS" ${ARGN})
  if(NOT TARGET mediafs_doctest_main)
    add_library(mediafs_doctest_main OBJECT ${PROJECT_SOURCE_DIR}/tests/doctest_main.cpp)
    target_link_libraries(mediafs_doctest_main PRIVATE mediafs_flags)
  endif()
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE mediafs_flags mediafs_doctest_main ${T_LIBS})
  if(NOT MEDIAFS_SANITIZE)
    target_compile_options(${name} PRIVATE -O0 -U_FORTIFY_SOURCE)
  endif()
  mediafs_precompiled(${name})
  add_dependencies(suites ${name})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 300)
endfunction()
