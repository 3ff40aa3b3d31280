#include "binding/binding_checks.h"

#include "binding/binding.h"
#include "matmul/w8a8.h"
#include "runtime/checks.h"

namespace cre {
namespace {

Napi::Uint8Array bytesOf(const Napi::CallbackInfo& info) {
  require(info, info[0].IsTypedArray() && info[0].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "a Uint8Array");
  return info[0].As<Napi::Uint8Array>();
}

uint32_t sumBefore(const Napi::CallbackInfo& info) {
  require(info, info[1].IsNumber(), "the sum of the bytes before");
  return info[1].As<Napi::Number>().Uint32Value();
}

// (bytes, the sum of the bytes before)
Napi::Value sumOfBytes(const Napi::CallbackInfo& info) {
  const Napi::Uint8Array bytes = bytesOf(info);
  return Napi::Number::New(info.Env(), crc32(sumBefore(info), bytes.Data(), bytes.ByteLength()));
}

// The same arguments.
Napi::Value sumByTables(const Napi::CallbackInfo& info) {
  const Napi::Uint8Array bytes = bytesOf(info);
  return Napi::Number::New(info.Env(), crc32ByTables(sumBefore(info), bytes.Data(), bytes.ByteLength()));
}

// (bytes, the type of their numbers)
Napi::Value allFiniteBytes(const Napi::CallbackInfo& info) {
  const Napi::Uint8Array bytes = bytesOf(info);
  const auto type = static_cast<Numbers>(wholeNumber(info[1], 0, 2));
  return Napi::Boolean::New(info.Env(), allFinite(type, bytes.Data(), bytes.ByteLength()));
}

// The instructions of products of bytes; empty if none gives right sums.
Napi::Value nameByteInstructions(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), byteInstructions()); }

}  // namespace

void addChecks(Napi::Env env, Napi::Object exports) {
  exports.Set("sumOfBytes", Napi::Function::New(env, sumOfBytes));
  exports.Set("sumByTables", Napi::Function::New(env, sumByTables));
  exports.Set("allFinite", Napi::Function::New(env, allFiniteBytes));
  exports.Set("byteInstructions", Napi::Function::New(env, nameByteInstructions));
}

}  // namespace cre
