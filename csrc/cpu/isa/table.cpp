#include "kernels.h"

#define GK_STRING_OF(name) #name
#define GK_STRING(name) GK_STRING_OF(name)

namespace gradkern::GK_ISA {

extern const Isa isa;
const Isa isa = {GK_STRING(GK_ISA), sketch_segments, steps,        pack_interleaved, pack_lines,
                 pack_ones,         add_panel,       reads,        add_patches,      widen,
                 correlate,         column_moments,  pack_weights, weigh_products,   divide_row};

}  // namespace gradkern::GK_ISA
