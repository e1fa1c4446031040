// SPDX-License-Identifier: Apache-2.0
#include "sched/sip_hash.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace penstock {
namespace {

// The digest in hexadecimal of the message 00 01 02 … under the key 00 01 … 0f.
std::string DigestOfLength(size_t length) {
  SipKey key;
  std::vector<std::byte> message(length);
  for (size_t i = 0; i < 16; ++i) reinterpret_cast<uint8_t*>(key.data())[i] = static_cast<uint8_t>(i);
  for (size_t i = 0; i < length; ++i) message[i] = static_cast<std::byte>(i);
  const SipDigest digest = SipHash128(key, message);
  std::string hex;
  for (size_t i = 0; i < 16; ++i) {
    char byte[3];
    std::snprintf(byte, sizeof byte, "%02X", reinterpret_cast<const uint8_t*>(digest.data())[i]);
    hex += byte;
  }
  return hex;
}

// Expected values are OpenSSL's (`openssl mac -macopt size:16 … SIPHASH`), which has the authors' test
// vectors.
TEST(SipHash, ReferenceVectors) {
  EXPECT_EQ(DigestOfLength(0), "A3817F04BA25A8E66DF67214C7550293");
  EXPECT_EQ(DigestOfLength(1), "DA87C1D86B99AF44347659119B22FC45");
  EXPECT_EQ(DigestOfLength(2), "8177228DA4A45DC7FCA38BDEF60AFFE4");
  EXPECT_EQ(DigestOfLength(15), "5493E99933B0A8117E08EC0F97CFC3D9");
  EXPECT_EQ(DigestOfLength(16), "6EE2A4CA67B054BBFD3315BF85230577");
  EXPECT_EQ(DigestOfLength(63), "5150D1772F50834A503E069A973FBD7C");
}

}  // namespace
}  // namespace penstock
