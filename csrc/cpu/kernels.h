// The kernels that several ops stand on, and what they are given. Kernels of one op alone are declared in its own file.
// Freestanding, because the kernels include it (dispatch.h).
#pragma once
#include "../signs.h"
#include "dispatch.h"

namespace gradkern {

// Buckets of the CPU are float[k + kOverrun], 64-byte aligned. The floats behind the k buckets take what runs over the
// end, so that no addition wraps, and the zeros of the last vector.
constexpr int kOverrun = 80;

// Adds segments [begin, end) of one sample, counted from its first, to the buckets.
GK_KERNEL(void, sketch_segments,
          (const void* x, Element element, int64_t cols, int64_t begin, int64_t end, const SketchSpec& spec,
           float* buckets));

// out[i] = x[i] as a float.
GK_KERNEL(void, widen, (const void* x, Element element, int64_t count, float* out));

// The rest is for a product G = sum_t g_t a_t^T [rows, cols], sketched panel by panel (isa/panel_product.cpp).

// Rows (or columns) of a tile of sums, each of which is broadcast.
constexpr int kTileRows = 6;

// A packed factor is read as tiles of kTileRows rows that are broadcast, or as a panel of 64 that lie along vectors.
enum class Side { broadcast, panel };

// Where a panel of G goes; a panel is one segment wide.
struct PanelPlace {
  int64_t rows;
  int width;        // columns, 1 to 64
  int64_t first;    // number of the first row's segment
  int64_t per_row;  // segments from a row to the next
};

// A panel whose columns lie along vectors: g packed for broadcasts, a as a panel.
struct Panel {
  const float* a;
  const float* g;
  Element element;
  int64_t steps;
  PanelPlace place;
};

// A rectangle of positions, at most kMaxSteps of them.
constexpr int kMaxSteps = 256;
struct Grid {
  int64_t rows, width, row_stride;
};

// A panel whose rows lie along vectors: g packed in panels of 64 rows, the columns read where they lie.
struct Patches {
  const void* const* columns;  // the first position of each column
  const float* g;
  Element element;  // of the columns; reads_as_stored() is true for it
  Grid grid;
  PanelPlace place;
};

// Rows or columns that lie side by side at each position; positions are `stride` elements apart.
struct Interleaved {
  const void* data;
  Element element;
  int64_t stride, t, count;
};

// Up to 64 rows whose positions lie side by side; rows are `stride` elements apart.
struct Lines {
  const void* data;
  Element element;
  int64_t size;  // elements that may be read
  int64_t stride, count;
  Grid grid;
};

// Packed factors hold a step after the other. A step is one position, or two neighbours in a row of the grid where the
// processor multiplies pairs; the last position of a row of odd width is then a step by itself, and these steps come
// last.
GK_KERNEL(int64_t, step_count, (Element element, const Grid& grid));
GK_KERNEL(void, pack_interleaved, (const Interleaved& factor, Side side, float* packed));
GK_KERNEL(void, pack_lines, (const Lines& lines, float* packed));  // as a panel

// Fills one column of a packed panel with ones: a bias is the gradient of a column of ones.
GK_KERNEL(void, pack_ones, (Element element, int64_t t, int column, float* packed));

GK_KERNEL(void, add_panel, (const Panel& panel, const SketchSpec& spec, float* buckets));

// Whether add_patches reads columns of this element as they are stored; others are widened to float32 first.
GK_KERNEL(bool, reads_as_stored, (Element element));
GK_KERNEL(void, add_patches, (const Patches& patches, const SketchSpec& spec, float* buckets));

}  // namespace gradkern
