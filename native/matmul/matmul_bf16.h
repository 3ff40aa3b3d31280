// Products of chunks on the units of the level: AMX tiles or vectors.
#pragma once
#include "matmul/matmul_tiles.h"
#include "matmul/matmul_vectors.h"
