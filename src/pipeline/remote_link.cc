// SPDX-License-Identifier: Apache-2.0
#include "pipeline/remote_link.h"

#include <future>
#include <limits>
#include <utility>

#include "base/bounded_queue.h"
#include "base/check.h"
#include "base/clock.h"
#include "pipeline/wire.h"

namespace penstock {
namespace {

// The first byte of a header.
enum class Piece : uint8_t { kLast, kMore, kClose };

std::vector<std::byte> MakePiece(Piece kind, std::span<const std::byte> bytes) {
  std::vector<std::byte> piece = {static_cast<std::byte>(kind)};
  piece.insert(piece.end(), bytes.begin(), bytes.end());
  return piece;
}

class RemoteInlet : public HeadInlet, public std::enable_shared_from_this<RemoteInlet> {
 public:
  RemoteInlet(const RemoteEnd& from, LinkError on_error)
      : from_(from), on_error_(std::move(on_error)), arrived_(std::numeric_limits<size_t>::max()) {}

  std::optional<StagePacket> Pop() override { return arrived_.Pop(); }

  void Return(Buffer hidden) override { Post(std::make_shared<Buffer>(std::move(hidden))); }

 private:
  void Post(std::shared_ptr<Buffer> hidden) {
    void* const payload = hidden->data();
    const size_t capacity = hidden->size();
    from_.endpoint->PostReceive(
        from_.peer, from_.channel, MessageAssembler::kPieceBytes + 1, payload, capacity,
        [self = shared_from_this(), hidden = std::move(hidden)](std::span<const std::byte> header, size_t) {
          self->Arrive(header, hidden);
        });
  }

  void Arrive(std::span<const std::byte> header, const std::shared_ptr<Buffer>& hidden) {
    auto message = assembler_.Add(header);
    if (!message.ok()) return on_error_(message.status());
    if (!*message) return Post(hidden);
    if ((*message)->is_close) return arrived_.Close();
    Result<StagePacket> packet = DecodePacket((*message)->bytes);
    if (!packet.ok()) return on_error_(packet.status().WithContext("a step from another rank"));
    packet->hidden = std::move(*hidden);
    packet->recv_us = NowUs();
    arrived_.Push(*std::move(packet));
  }

  const RemoteEnd from_;
  const LinkError on_error_;
  MessageAssembler assembler_;  // the endpoint's thread
  BoundedQueue<StagePacket> arrived_;
};

class RemoteOutlet : public PacketOutlet {
 public:
  RemoteOutlet(const RemoteEnd& to, std::shared_ptr<HeadInlet> head, bool is_synchronous)
      : to_(to), head_(std::move(head)), is_synchronous_(is_synchronous) {}

  void Push(StagePacket packet) override {
    const std::vector<std::byte> bytes = EncodePacket(packet);
    const Mat& rows = packet.own_rows;
    CHECK(rows.rows == 0 || rows.stride == rows.cols) << "rows without gaps";
    const size_t payload_bytes = static_cast<size_t>(rows.rows * rows.cols) * DTypeBytes(rows.dtype);
    auto hidden = std::make_shared<Buffer>(std::move(packet.hidden));
    auto sent = is_synchronous_ ? std::make_shared<std::promise<void>>() : nullptr;
    std::future<void> done = sent ? sent->get_future() : std::future<void>();
    SendMessage(to_, bytes, rows.data, payload_bytes, [head = head_, hidden, sent] {
      head->Return(std::move(*hidden));
      if (sent) sent->set_value();
    });
    if (is_synchronous_) done.wait();
  }
  void Close() override { SendClose(to_); }

 private:
  const RemoteEnd to_;
  const std::shared_ptr<HeadInlet> head_;
  const bool is_synchronous_;
};

struct MessageReceiver : std::enable_shared_from_this<MessageReceiver> {
  RemoteEnd from;
  std::function<void(std::span<const std::byte>)> on_message;
  LinkError on_error;
  std::function<void()> on_close;
  MessageAssembler assembler;

  void Post() {
    from.endpoint->PostReceive(
        from.peer, from.channel, MessageAssembler::kPieceBytes + 1, nullptr, 0,
        [self = shared_from_this()](std::span<const std::byte> header, size_t) { self->Arrive(header); });
  }
  void Arrive(std::span<const std::byte> header) {
    auto message = assembler.Add(header);
    if (!message.ok()) return on_error(message.status());
    if (*message && (*message)->is_close) {
      if (on_close) on_close();
      return;
    }
    Post();
    if (*message) on_message((*message)->bytes);
  }
};

}  // namespace

void SendMessage(const RemoteEnd& end, std::span<const std::byte> bytes, const void* payload,
                 size_t payload_bytes, MessageEndpoint::OnSent on_sent) {
  while (bytes.size() > MessageAssembler::kPieceBytes) {
    const auto piece = MakePiece(Piece::kMore, bytes.first(MessageAssembler::kPieceBytes));
    end.endpoint->Send(end.peer, end.channel, piece, nullptr, 0, {});
    bytes = bytes.subspan(MessageAssembler::kPieceBytes);
  }
  end.endpoint->Send(end.peer, end.channel, MakePiece(Piece::kLast, bytes), payload, payload_bytes,
                     std::move(on_sent));
}

void SendClose(const RemoteEnd& end) {
  end.endpoint->Send(end.peer, end.channel, MakePiece(Piece::kClose, {}), nullptr, 0, {});
}

Result<std::optional<MessageAssembler::Message>> MessageAssembler::Add(std::span<const std::byte> piece) {
  if (piece.empty() || piece[0] > static_cast<std::byte>(Piece::kClose)) {
    return InvalidArgument("a message between ranks begins with {}, expected 0, 1 or 2",
                           piece.empty() ? -1 : static_cast<int>(piece[0]));
  }
  const auto kind = static_cast<Piece>(piece[0]);
  if (kind == Piece::kClose) {
    if (bytes_.empty()) return std::optional<Message>({.is_close = true, .bytes = {}});
    return InvalidArgument("a close amid a message between ranks, of which {} bytes are there",
                           bytes_.size());
  }
  bytes_.insert(bytes_.end(), piece.begin() + 1, piece.end());
  if (bytes_.size() > kMaxHeaderBytes) {
    return InvalidArgument("a message between ranks of more than {} bytes", kMaxHeaderBytes);
  }
  if (kind == Piece::kMore) return std::optional<Message>();
  return std::optional<Message>({.is_close = false, .bytes = std::exchange(bytes_, {})});
}

std::shared_ptr<HeadInlet> MakeRemoteInlet(const RemoteEnd& from, LinkError on_error) {
  return std::make_shared<RemoteInlet>(from, std::move(on_error));
}

std::unique_ptr<PacketOutlet> MakeRemoteOutlet(const RemoteEnd& to, std::shared_ptr<HeadInlet> head,
                                               bool is_synchronous) {
  return std::make_unique<RemoteOutlet>(to, std::move(head), is_synchronous);
}

void ReceiveMessages(const RemoteEnd& from, std::function<void(std::span<const std::byte>)> on_message,
                     LinkError on_error, std::function<void()> on_close) {
  auto receiver = std::make_shared<MessageReceiver>();
  receiver->from = from;
  receiver->on_message = std::move(on_message);
  receiver->on_error = std::move(on_error);
  receiver->on_close = std::move(on_close);
  receiver->Post();
}

}  // namespace penstock
