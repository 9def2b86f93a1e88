#!/bin/sh
# Compiles scale.cu to PTX with Debian's clang-14; nothing of NVIDIA's is needed. Writes to the file named, or over the one
# that is checked in. PTX ISA 6.0 and sm_52 are read by every driver that we work with, which compiles them for its card.
set -eu
cd "$(dirname "$0")"
clang-14 -x cuda --cuda-device-only --cuda-gpu-arch=sm_52 -nocudainc -nocudalib -O3 -S \
  -Wall -Wextra -Werror -Wno-unknown-cuda-version -Xclang -target-feature -Xclang +ptx60 \
  -o "${1:-scale.ptx}" scale.cu
