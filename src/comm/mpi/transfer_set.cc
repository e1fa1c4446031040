// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi/transfer_set.h"

#include <algorithm>

#include "comm/message_frame.h"
#include "comm/mpi/mpi_wait.h"

namespace penstock {

TransferSet::TransferSet(MPI_Comm comm, MessageEndpoint::OnError on_error)
    : comm_(comm), on_error_(std::move(on_error)) {}

TransferSet::Lane& TransferSet::LaneOf(const Transfer& transfer) {
  return lanes_[(int64_t{transfer.peer} * kMaxChannels + transfer.channel) * 2 + (transfer.is_send ? 1 : 0)];
}

void TransferSet::Begin(std::unique_ptr<Transfer> transfer) {
  Lane& lane = LaneOf(*transfer);
  if (lane.broken) return;
  if (transfer->is_send) {
    WriteFrame({lane.sequence++, transfer->frame.size() - kFrameBytes, transfer->payload_bytes},
               transfer->frame.data());
    ++sending_;
  }
  Transfer& begun = *lane.transfers.emplace_back(std::move(transfer));
  begun.parts_under_way = 2;
  BeginPart(begun, true);
  BeginPart(begun, false);
  if (begun.parts_under_way == 0) Settle(lane);
}

void TransferSet::BeginPart(Transfer& transfer, bool is_header) {
  void* data = is_header ? transfer.frame.data() : transfer.payload;
  const int count = static_cast<int>(is_header ? transfer.frame.size() : transfer.payload_bytes);
  const int tag = 2 * transfer.channel + (is_header ? 0 : 1);
  MPI_Request request = MPI_REQUEST_NULL;
  const int code = transfer.is_send ? MPI_Isend(data, count, MPI_BYTE, transfer.peer, tag, comm_, &request)
                                    : MPI_Irecv(data, count, MPI_BYTE, transfer.peer, tag, comm_, &request);
  if (code != MPI_SUCCESS) {
    transfer.error = MpiStatus(code, transfer.is_send ? "MPI_Isend" : "MPI_Irecv");
    --transfer.parts_under_way;
    return;
  }
  requests_.push_back(request);
  parts_.push_back({&transfer, is_header});
}

bool TransferSet::Look() {
  if (requests_.empty()) return false;
  done_.resize(requests_.size());
  statuses_.resize(requests_.size());
  int count = 0;
  const int code = MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count, done_.data(),
                                statuses_.data());
  CHECK(code == MPI_SUCCESS || code == MPI_ERR_IN_STATUS) << MpiStatus(code, "MPI_Testsome").message();
  if (count == MPI_UNDEFINED || count == 0) return false;
  std::vector<Lane*> touched;
  bool any = false;
  for (int i = 0; i < count; ++i) {
    const Part& part = parts_[done_[i]];
    EndPart(part, statuses_[i], code == MPI_ERR_IN_STATUS ? statuses_[i].MPI_ERROR : MPI_SUCCESS);
    touched.push_back(&LaneOf(*part.transfer));
    any |= part.transfer->channel != kWatchChannel;
    requests_[done_[i]] = MPI_REQUEST_NULL;
  }
  size_t kept = 0;
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] == MPI_REQUEST_NULL) continue;
    requests_[kept] = requests_[i];
    parts_[kept++] = parts_[i];
  }
  requests_.resize(kept);
  parts_.resize(kept);
  for (Lane* lane : touched) Settle(*lane);
  return any;
}

void TransferSet::EndPart(const Part& part, const MPI_Status& status, int error) {
  Transfer& transfer = *part.transfer;
  --transfer.parts_under_way;
  if (error != MPI_SUCCESS) {
    transfer.error = MpiStatus(error, transfer.is_send ? "sending" : "receiving");
    int error_class = MPI_SUCCESS;
    MPI_Error_class(error, &error_class);
    if (error_class == MPI_ERR_TRUNCATE) {
      transfer.error = InvalidArgument(
          "a {} of more bytes than expected: {} at most", part.is_header ? "header" : "payload",
          part.is_header ? transfer.frame.size() - kFrameBytes : transfer.payload_bytes);
    }
  }
  if (transfer.is_send) return;
  int bytes = 0;
  if (error == MPI_SUCCESS) MPI_Get_count(&status, MPI_BYTE, &bytes);
  (part.is_header ? transfer.got_frame_bytes : transfer.got_payload_bytes) = bytes;
  // One part has come: the other is on its way.
  arriving_ += transfer.parts_under_way == 1 ? 1 : -1;
}

void TransferSet::Settle(Lane& lane) {
  while (!lane.broken && !lane.transfers.empty() && lane.transfers.front()->parts_under_way == 0) {
    const std::unique_ptr<Transfer> transfer = std::move(lane.transfers.front());
    lane.transfers.pop_front();
    Status status = transfer->error;
    if (transfer->is_send) {
      --sending_;
      if (status.ok() && transfer->on_sent) transfer->on_sent();
    } else if (status.ok()) {
      status = Deliver(*transfer, lane.sequence++);
    }
    if (!status.ok()) {
      // What is posted or being sent stays with MPI until Cancel(): its memory must.
      lane.broken = true;
      on_error_(transfer->peer, transfer->channel, status);
    }
  }
}

Status TransferSet::Deliver(Transfer& transfer, uint64_t sequence) {
  const std::span<const std::byte> message(transfer.frame.data(), transfer.got_frame_bytes);
  ASSIGN_OR_RETURN(const MessageFrame frame,
                   ReadFrame(message, {.sequence = sequence,
                                       .header_capacity = transfer.frame.size() - kFrameBytes,
                                       .payload_capacity = transfer.payload_bytes}));
  if (frame.payload_bytes != transfer.got_payload_bytes) {
    return InvalidArgument("frame: a payload of {} bytes, got {}", frame.payload_bytes,
                           transfer.got_payload_bytes);
  }
  transfer.on_arrival(message.subspan(kFrameBytes), transfer.got_payload_bytes);
  return OkStatus();
}

void TransferSet::Cancel() {
  for (MPI_Request& request : requests_) {
    if (request == MPI_REQUEST_NULL) continue;
    MPI_Cancel(&request);
    MPI_Request_free(&request);
  }
  requests_.clear();
  parts_.clear();
}

}  // namespace penstock
