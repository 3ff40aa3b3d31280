#include <cmath>

#include "binding/binding.h"

namespace cre {

void require(const Napi::CallbackInfo& info, bool fits, const char* expected) {
  if (!fits) throw Napi::Error::New(info.Env(), std::string("native backend: expected ") + expected + ".");
}

int wholeNumber(const Napi::Value& value, int least, int most) {
  const double given = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(given >= least && given <= most && given == std::floor(given))) {
    throw Napi::Error::New(value.Env(),
                           "native backend: expected a whole number from " + std::to_string(least) + " to " + std::to_string(most) + ".");
  }
  return static_cast<int>(given);
}

float number(const Napi::Value& value) {
  if (!value.IsNumber()) throw Napi::Error::New(value.Env(), "native backend: expected a number.");
  return value.As<Napi::Number>().FloatValue();
}

bool truth(const Napi::Value& value) {
  if (!value.IsBoolean()) throw Napi::Error::New(value.Env(), "native backend: expected true or false.");
  return value.As<Napi::Boolean>().Value();
}

std::vector<float> floats(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
    throw Napi::Error::New(value.Env(), "native backend: expected a Float32Array.");
  }
  const auto array = value.As<Napi::Float32Array>();
  return std::vector<float>(array.Data(), array.Data() + array.ElementLength());
}

std::vector<int32_t> integers(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    throw Napi::Error::New(value.Env(), "native backend: expected an Int32Array.");
  }
  const auto array = value.As<Napi::Int32Array>();
  return std::vector<int32_t>(array.Data(), array.Data() + array.ElementLength());
}

std::vector<int32_t> ids(const Napi::Value& value, int bound) {
  std::vector<int32_t> numbers = integers(value);
  for (const int32_t id : numbers) {
    if (id < 0 || id >= bound) {
      throw Napi::Error::New(value.Env(),
                             "native backend: got the number " + std::to_string(id) + ", expected 0 to " + std::to_string(bound - 1) + ".");
    }
  }
  return numbers;
}

}  // namespace cre
