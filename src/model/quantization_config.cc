// The description of Ascend weights goes before config.json: msModelSlim takes quantization_config out of it.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/quantization_config.h"

#include "base/log.h"
#include "model/config_reader.h"
#include "weights/ascend_description.h"
#include "weights/compressed_tensors.h"

namespace penstock {
namespace {

constexpr std::string_view kAtLoad = "w8a8-dynamic";

bool IsSet(const Json& json, const char* key) { return json.contains(key) && !json[key].is_null(); }

// vLLM's message.
Status DoesNotMatch(std::string_view found, std::string_view requested) {
  return InvalidArgument(
      "Quantization method specified in the model config ({}) does not match the quantization method "
      "specified "
      "in the `quantization` argument ({})",
      found, requested);
}

Status ReadFp8(const Json& json, ModelConfig& config) {
  ConfigReader fp8(json, "quantization_config");
  fp8.Only("quant_method", "fp8");
  fp8.Only("fmt", "e4m3");
  fp8.Only("activation_scheme", "dynamic");
  const std::vector<int32_t> block = fp8.Ints("weight_block_size");
  if (block.size() != 2) {
    fp8.Unsupported("weight_block_size", "fp8 weights must have one scale per block, such as [128,128]");
  } else if (block[0] <= 0 || block[1] <= 0) {
    fp8.Fail(InvalidArgument("weight_block_size = [{},{}]", block[0], block[1]));
  } else {
    config.fp8_block_rows = block[0];
    config.fp8_block_cols = block[1];
  }
  return fp8.status();
}

// What quantization_config of config.json says. Gives back its method, "" if there is none.
Result<std::string> ReadFromConfig(const Json& json, ModelConfig& config) {
  const auto found = json.find("quantization_config");
  if (found == json.end() || found->is_null()) return std::string();
  if (!found->is_object()) return InvalidArgument("quantization_config is not an object");
  const auto method = found->find("quant_method");
  if (method != found->end() && *method == "compressed-tensors") {
    auto types = ParseCompressedTensors(*found);
    if (!types.ok()) return types.status().WithContext("quantization_config");
    config.weight_types = *std::move(types);
    return std::string(config.weight_types->method());
  }
  RETURN_IF_ERROR(ReadFp8(*found, config));
  return std::string("fp8");
}

Result<std::string> ReadStoredMethod(const Json& json, const std::string& model_dir, bool wants_ascend,
                                     ModelConfig& config) {
  if (wants_ascend || HasAscendDescription(model_dir) || IsSet(json, "quantize")) {
    ASSIGN_OR_RETURN(config.weight_types, ReadAscendDescription(model_dir));
    if (IsSet(json, "quantization_config")) {
      LogWarning("quantization_config of config.json has no effect beside {}", kAscendDescriptionFile);
    }
    return std::string(config.weight_types->method());
  }
  if (IsSet(json, "compression_config")) {
    return Unimplemented("compression_config is not supported: quantization_config is read");
  }
  return ReadFromConfig(json, config);
}

}  // namespace

Status ReadQuantization(const Json& json, const std::string& model_dir, const std::string& quantization,
                        ModelConfig& config) {
  ASSIGN_OR_RETURN(const std::string stored,
                   ReadStoredMethod(json, model_dir, quantization == "ascend", config));
  if (quantization == kAtLoad) {
    if (config.weight_types != nullptr) return DoesNotMatch(stored, quantization);
    config.quantise_weights = true;
    return OkStatus();
  }
  if (quantization.empty() || quantization == stored) return OkStatus();
  if (!stored.empty()) return DoesNotMatch(stored, quantization);
  return Unimplemented(
      "quantization {}: the model's weights are not quantized, and only {} quantizes them at load",
      quantization, kAtLoad);
}

}  // namespace penstock
