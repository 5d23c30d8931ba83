// The functions of one instruction set, GK_ISA; see ../isa.h.
#pragma once
#include "../isa.h"

namespace gradkern::GK_ISA {

void sketch_segments(const void* x, Element element, int64_t cols, int64_t begin, int64_t end, const SketchSpec& spec,
                     float* buckets);
int64_t steps(Element element, const Grid& grid);
void pack_interleaved(const Interleaved& factor, Side side, float* packed);
void pack_columns(const Columns& columns, float* packed);
void pack_rows(const Rows& rows, float* packed);
void pack_ones(Element element, const Grid& grid, int column, float* packed);
void add_panel(const Panel& panel, const SketchSpec& spec, float* buckets);
void widen(const void* x, Element element, int64_t count, float* out);
void correlate(const Correlation& correlation, float* taps);

}  // namespace gradkern::GK_ISA
