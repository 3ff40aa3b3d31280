// Products of a few rows with quantised weights; too few rows to pay for whole panels of the right factor.
#pragma once
#include "matmul/matmul.h"

namespace cre {

// y = x · wᵀ with w from product.source; levels with bf16 products only
void multiplyOneRow(Pool&, const Product&);
void multiplyOneRowBlock(Pool&, const Product&);   // up to 32 rows
void multiplyTwoRowBlocks(Pool&, const Product&);  // 33 to 64 rows

}  // namespace cre
