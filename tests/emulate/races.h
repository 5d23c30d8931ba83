// Finds races in emulated shared memory, whatever the schedule: two threads that use the same bytes, one of them to
// write, with no __syncthreads, and within a warp no __syncwarp, in between. A shuffle orders nothing.
#pragma once

namespace races {

extern int thread;  // the one that runs, or -1

void begin_block();
void pass_block_barrier();
void pass_warp_barrier(int warp);
bool found();  // since begin_block

}  // namespace races
