// Products of 33 to 64 rows with quantised weights: too few rows to make whole panels of the right factor for them.
#pragma once
#include "matmul.h"

namespace cre {

// y = x · wᵀ with w from product.source; amx level only
void multiplyTwoRowBlocks(Pool&, const Product&);

}  // namespace cre
