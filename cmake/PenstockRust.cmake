# penstock_rust_library(TARGET CRATE_DIR)
#
# Builds the static library of the Rust crate in CRATE_DIR (named as TARGET) with cargo, inside the build tree,
# and makes it the imported target TARGET. The versions are those of the crate's Cargo.lock.
#
# The target triple is always given, because CARGO_BUILD_TARGET or a cargo configuration may name one and then
# move the output; --target-dir overrides CARGO_TARGET_DIR. Compiler wrappers (RUSTC_WRAPPER) work as they are.
set(PENSTOCK_RUST_MIN_VERSION 1.85)

function(penstock_find_cargo)
  find_program(CARGO_PROGRAM cargo HINTS $ENV{CARGO_HOME}/bin $ENV{HOME}/.cargo/bin)
  if(NOT CARGO_PROGRAM)
    message(FATAL_ERROR "cargo was not found; penstock needs Rust ${PENSTOCK_RUST_MIN_VERSION} or newer for its tokenizer. "
      "Debian 12: apt-get install rustc-web cargo-web. Ubuntu 24.04: apt-get install cargo-1.91 rustc-1.91, then "
      "-DCARGO_PROGRAM=/usr/bin/cargo-1.91. Elsewhere: rustup.")
  endif()
  execute_process(COMMAND ${CARGO_PROGRAM} -vV OUTPUT_VARIABLE text ERROR_VARIABLE error RESULT_VARIABLE failed)
  if(failed OR NOT text MATCHES "cargo ([0-9.]+).*host: ([^\n]+)")
    message(FATAL_ERROR "${CARGO_PROGRAM} -vV failed: ${error}")
  endif()
  set(version ${CMAKE_MATCH_1})
  set(PENSTOCK_RUST_HOST ${CMAKE_MATCH_2} PARENT_SCOPE)
  if(version VERSION_LESS PENSTOCK_RUST_MIN_VERSION)
    message(FATAL_ERROR "${CARGO_PROGRAM} is ${version}; penstock needs Rust ${PENSTOCK_RUST_MIN_VERSION} or newer.")
  endif()
endfunction()

function(penstock_rust_library target crate_dir)
  penstock_find_cargo()
  set(target_dir ${CMAKE_BINARY_DIR}/cargo)
  set(library ${target_dir}/${PENSTOCK_RUST_HOST}/release/lib${target}.a)
  file(GLOB_RECURSE rust_sources CONFIGURE_DEPENDS ${crate_dir}/src/*.rs)
  set_property(GLOBAL APPEND PROPERTY JOB_POOLS penstock_cargo=1)
  add_custom_command(
    OUTPUT ${library}
    COMMAND ${CARGO_PROGRAM} build --release --locked --quiet --target ${PENSTOCK_RUST_HOST} --target-dir ${target_dir}
    WORKING_DIRECTORY ${crate_dir}
    DEPENDS ${rust_sources} ${crate_dir}/Cargo.toml ${crate_dir}/Cargo.lock
    COMMENT "cargo build ${target} (some minutes the first time)"
    JOB_POOL penstock_cargo
    VERBATIM)
  add_custom_target(${target}_cargo DEPENDS ${library})
  add_library(${target} STATIC IMPORTED GLOBAL)
  add_dependencies(${target} ${target}_cargo)
  set_target_properties(${target} PROPERTIES
    IMPORTED_LOCATION ${library}
    INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};m")
endfunction()
