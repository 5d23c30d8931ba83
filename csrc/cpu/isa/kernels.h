// The functions of one instruction set, GK_ISA; see ../isa.h.
#pragma once
#include "../isa.h"

namespace gradkern::GK_ISA {

void sketch_segments(const void* x, Element element, int64_t cols, int64_t begin, int64_t end, const SketchSpec& spec,
                     float* buckets);
int64_t steps(Element element, const Grid& grid);
void pack_interleaved(const Interleaved& factor, Side side, float* packed);
void pack_lines(const Lines& lines, float* packed);
void pack_ones(Element element, int64_t t, int column, float* packed);
void add_panel(const Panel& panel, const SketchSpec& spec, float* buckets);
bool reads(Element element);
void add_patches(const Patches& patches, const SketchSpec& spec, float* buckets);
void widen(const void* x, Element element, int64_t count, float* out);
void correlate(const Correlation& correlation, float* taps);
void column_moments(const GroupRows& group, const Moments& results);
void pack_weights(const double* weights, int64_t a, int64_t r, double* packed);
void weigh_products(const WeighedProducts& all, int64_t begin, int64_t end, double* scratch);
void divide_row(const void* c, Element element, double value, const double* alpha, int64_t count, void* out);

}  // namespace gradkern::GK_ISA
