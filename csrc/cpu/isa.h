// Which instruction set runs, and what each one offers.
//
// The files in cpu/isa/ are compiled once per instruction set into the namespaces below. They include no
// standard header with code: an inline function compiled there could become the copy that the linker keeps
// for everybody, and fail on an older processor.
#pragma once
#include <stdint.h>

#include "../signs.h"

namespace gradkern {

// Element types of the instruction-set units, in the order of Dtype.
enum class Element { f32, f64, bf16, f16 };

// Floats behind the k buckets: they take what runs over the end, so that no addition wraps, and the zeros of the
// last vector.
constexpr int kOverrun = 80;

// Rows (or columns) of a tile of a product that stay in registers, as broadcasts.
constexpr int kTileRows = 6;

// What a packed factor is for: tiles of kTileRows broadcast rows, or a panel of 64 that lie along vectors.
enum class Side { broadcast, panel };

// Where one segment wide panel of a gradient [rows, cols] goes.
struct PanelPlace {
  int64_t rows;
  int width;        // columns, 1 to 64
  int64_t first;    // number of the first row's segment
  int64_t per_row;  // segments from a row to the next
};

// A panel whose columns lie along vectors: g packed as broadcasts, a as a panel.
struct Panel {
  const float* a;
  const float* g;
  Element element;
  int64_t steps;
  PanelPlace place;
};

// A block of positions, at most kMaxSteps of them.
constexpr int kMaxSteps = 256;
struct Grid {
  int64_t rows, width, row_stride;
};

// A panel whose rows lie along vectors: g packed in panels of 64 rows; the columns are read where they lie.
struct Patches {
  const void* const* columns;  // the first position of each
  const float* g;
  Element element;  // of the columns: `reads` is true for it
  Grid grid;
  PanelPlace place;
};

// Rows or columns that lie side by side at each position, positions `stride` elements apart.
struct Interleaved {
  const void* data;
  Element element;
  int64_t stride, t, count;
};

// Up to 64 rows whose positions lie side by side, the rows `stride` elements apart.
struct Lines {
  const void* data;
  Element element;
  int64_t size;  // elements that may be read
  int64_t stride, count;
  Grid grid;
};

// One channel's gradient beside one channel's input, padded so that no tap leaves it.
struct Correlation {
  const float* g;  // [rows, cols]
  const float* plane;
  int64_t rows, cols, pitch;
  const int64_t* offsets;  // of each tap in plane
  int64_t taps;
};

// Rows of one group, cut to at most kMomentColumns columns.
constexpr int64_t kMomentColumns = 256;
struct GroupRows {
  const void* y;
  Element element;  // float32 or float64
  int64_t stride;   // elements from a row to the next
  const int64_t* rows;
  int64_t count, width;
};

// Of each of these columns; low and high are of the rows' element.
struct Moments {
  double *sum, *spread;
  void *low, *high;
};

// The three terms of fold_scores [r, b] and their weights [a, r], packed.
constexpr int64_t kStripColumns = 24;   // what every instruction set's strips divide
constexpr int64_t kWeighedSteps = 128;  // rows whose products are formed at a time
struct WeighedProducts {
  const void *B, *D, *F;
  const double* E;
  Element element;  // of B, D and F: float32 or float64
  int64_t r, b, a;
  const double *S, *U, *W;
  double *product, *square;  // [a, b]
};

// What every instruction set offers. Buckets are float[k + kOverrun], 64-byte aligned.
struct Isa {
  const char* name;

  // Adds segments [begin, end) of one sample, counted from its first.
  void (*sketch_segments)(const void* x, Element element, int64_t cols, int64_t begin, int64_t end,
                          const SketchSpec& spec, float* buckets);

  // Packing. A step is a position, or two neighbours in a row of the grid; in a row of odd width the last position is a
  // step by itself, and these come last.
  int64_t (*steps)(Element element, const Grid& grid);
  void (*pack_interleaved)(const Interleaved& factor, Side side, float* packed);
  void (*pack_lines)(const Lines& lines, float* packed);  // a panel

  // Makes one column of a packed panel ones: a bias is the gradient's column for them.
  void (*pack_ones)(Element element, int64_t t, int column, float* packed);

  void (*add_panel)(const Panel& panel, const SketchSpec& spec, float* buckets);

  // Whether columns of this element are multiplied as they lie; others are widened to float32 before.
  bool (*reads)(Element element);
  void (*add_patches)(const Patches& patches, const SketchSpec& spec, float* buckets);

  // out[i] = x[i] as a float.
  void (*widen)(const void* x, Element element, int64_t count, float* out);

  // taps[i] = sum over positions of g[y, x] * plane[y * pitch + x + offsets[i]].
  void (*correlate)(const Correlation& correlation, float* taps);

  void (*column_moments)(const GroupRows& group, const Moments& results);

  // Columns [begin, end), begin a multiple of kStripColumns; scratch holds kWeighedSteps + 2 a doubles a column, their
  // number rounded up to such a multiple.
  void (*pack_weights)(const double* weights, int64_t a, int64_t r, double* packed);
  void (*weigh_products)(const WeighedProducts& all, int64_t begin, int64_t end, double* scratch);

  // out[t] = c[t] / (value + alpha[t]), the sum rounded to the element, float32 or float64.
  void (*divide_row)(const void* c, Element element, double value, const double* alpha, int64_t count, void* out);
};

namespace portable {
extern const Isa isa;
}
namespace avx2 {
extern const Isa isa;
}
namespace avx512 {
extern const Isa isa;
}
namespace avx512bf16 {
extern const Isa isa;
}

namespace cpu {

// The best instruction set of this processor, or the one that the environment variable GRADKERN_ISA names.
// Read at every call; an unknown or unsupported name is an error, never a fallback.
const Isa& current_isa();

// All that this build holds and this processor runs, best first; ends with a null pointer.
const Isa* const* available_isas();

}  // namespace cpu
}  // namespace gradkern
