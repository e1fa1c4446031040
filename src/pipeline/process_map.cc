// SPDX-License-Identifier: Apache-2.0
#include "pipeline/process_map.h"

namespace penstock {

Status CheckProcessMap(const ProcessMap& map) {
  const ParallelLayout& layout = map.layout;
  const int32_t world = layout.world_size(), processes = map.num_processes;
  if (world % processes != 0) {
    return InvalidArgument(
        "{} MPI processes for {} ranks ({}: dp × pp × pcp × tp): expected as many, or a number that divides "
        "it",
        processes, world, LayoutName(layout));
  }
  const int32_t each = map.ranks_per_process(), stage = layout.ranks_per_stage();
  const bool has_whole_stages = each % stage == 0;
  const bool is_within_replica = processes == 1 || layout.ranks_per_replica() % each == 0;
  if (!(has_whole_stages || each == 1) || !is_within_replica) {
    return InvalidArgument(
        "{} MPI processes of {} ranks each for {}: a process has one rank, or whole stages of {} ranks, of "
        "one "
        "replica",
        processes, each, LayoutName(layout), stage);
  }
  if (layout.expert_parallel && layout.dp > 1 && each > 1 && processes > 1) {
    return InvalidArgument(
        "{} MPI processes of {} ranks each for {}: experts that span replicas need one "
        "process for each rank, or one for all",
        processes, each, LayoutName(layout));
  }
  return OkStatus();
}

}  // namespace penstock
