#include "kernels.h"

#define GK_STRING_OF(name) #name
#define GK_STRING(name) GK_STRING_OF(name)

namespace gradkern::GK_ISA {

extern const Isa isa;
const Isa isa = {GK_STRING(GK_ISA), sketch_segments, steps, pack_interleaved, pack_columns, pack_rows,
                 pack_ones,         add_panel,       widen, correlate};

}  // namespace gradkern::GK_ISA
