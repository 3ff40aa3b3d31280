// The tile registers of AMX.
#pragma once

namespace cre {

// Gives the calling thread its tile configuration, 8 tiles of 16 rows x 64 bytes, and takes it away; nothing on levels without tiles. Threads of
// a pool have it while they work.
void loadTiles();
void releaseTiles();

}  // namespace cre
