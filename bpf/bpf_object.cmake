# sl_bpf_object(name): compiles <name>.bpf.c for the BPF target and makes <name>.skel.h of it, in the
# build tree. A header that changes rebuilds it (DEPFILE). Targets: <name>_bpf (interface library that
# gives the skeleton's folder), ${name}_BPF_OBJECT (path of the object).
find_program(BPF_CLANG NAMES clang-19 clang-18 clang-17 clang-16 clang-15 clang clang-14 REQUIRED)
find_program(BPFTOOL bpftool PATHS /usr/sbin /sbin REQUIRED)
execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-multiarch OUTPUT_VARIABLE multiarch
  OUTPUT_STRIP_TRAILING_WHITESPACE)

function(sl_bpf_object name)
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/${name}.bpf.c)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.bpf.o)
  set(skeleton ${CMAKE_CURRENT_BINARY_DIR}/${name}.skel.h)
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${BPF_CLANG} -target bpf -mcpu=v3 -std=gnu11 -O2 -g -fno-strict-aliasing
            -Wall -Wextra -Werror -I${PROJECT_SOURCE_DIR} -I${PROJECT_SOURCE_DIR}/bpf
            -idirafter /usr/include/${multiarch} -MD -MF ${object}.d -MT ${object}
            -c ${source} -o ${object}
    DEPENDS ${source}
    DEPFILE ${object}.d
    COMMENT "BPF object ${name}"
    VERBATIM)
  add_custom_command(
    OUTPUT ${skeleton}
    COMMAND ${BPFTOOL} gen skeleton ${object} name ${name} > ${skeleton}
    DEPENDS ${object}
    COMMENT "BPF skeleton ${name}"
    VERBATIM)
  add_custom_target(${name}_skeleton DEPENDS ${skeleton})
  add_library(${name}_bpf INTERFACE)
  target_include_directories(${name}_bpf SYSTEM INTERFACE ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(${name}_bpf INTERFACE PkgConfig::LIBBPF)
  add_dependencies(${name}_bpf ${name}_skeleton)
  set(${name}_BPF_OBJECT ${object} PARENT_SCOPE)
endfunction()
