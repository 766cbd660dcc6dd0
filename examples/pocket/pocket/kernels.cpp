// The fused float32 steps of training, each with its backward pass, for one thread.
//
// PyTorch alone moves the four residual streams through memory a dozen times per block and runs
// the twenty Sinkhorn steps as eighty small operations. Each function here is the plain formula of
// plain.py in one pass over the tokens; test_kernels.py compares values and gradients with it.
// Longer than 500 lines: PyTorch compiles one extension file at the first import.
#include <torch/extension.h>

#include <algorithm>
#include <cmath>
#include <vector>

using torch::Tensor;

namespace {

constexpr int kStreams = 4;
constexpr int kMix = 24;    // 4 pre, 4 post, 16 comb
constexpr int kLanes = 16;  // tokens that run through Sinkhorn together: one AVX-512 register

const float* in(const Tensor& t) {
  TORCH_CHECK(t.is_contiguous() && t.scalar_type() == torch::kFloat, "contiguous float expected");
  return t.data_ptr<float>();
}
float* out(Tensor& t) { return t.data_ptr<float>(); }

float dot(const float* a, const float* b, int n) {
  float s = 0;
  for (int i = 0; i < n; ++i) s += a[i] * b[i];
  return s;
}

// The Sinkhorn steps of kLanes tokens, every intermediate kept for the backward pass.
struct Sinkhorn {
  int iters;
  float eps;
  std::vector<float> m;  // [2 * iters, 16, lanes]; entry 0 the softmax plus eps
  std::vector<float> s;  // [2 * iters, 4, lanes]; divisors
  Sinkhorn(int iters_, float eps_)
      : iters(iters_), eps(eps_), m(2 * iters_ * 16 * kLanes), s(2 * iters_ * 4 * kLanes) {}

  float* matrix(int k) { return m.data() + k * 16 * kLanes; }
  float* sums(int k) { return s.data() + k * 4 * kLanes; }

  void normalise(int k, bool rows) {
    const float* a = matrix(k - 1);
    float* b = matrix(k);
    float* d = sums(k);
    for (int i = 0; i < 4; ++i)
      for (int l = 0; l < kLanes; ++l) {
        float t = eps;
        for (int j = 0; j < 4; ++j) t += a[(rows ? i * 4 + j : j * 4 + i) * kLanes + l];
        d[i * kLanes + l] = 1.0f / t;
      }
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j)
        for (int l = 0; l < kLanes; ++l) {
          const int e = (rows ? i * 4 + j : j * 4 + i) * kLanes + l;
          b[e] = a[e] * d[i * kLanes + l];
        }
  }

  // logits [16, lanes] -> the last matrix.
  float* forward(const float* logits) {
    float* a = matrix(0);
    for (int i = 0; i < 4; ++i)
      for (int l = 0; l < kLanes; ++l) {
        const float* x = logits + i * 4 * kLanes + l;
        const float top =
            std::max(std::max(x[0], x[kLanes]), std::max(x[2 * kLanes], x[3 * kLanes]));
        float e[4], t = 0;
        for (int j = 0; j < 4; ++j) t += e[j] = std::exp(x[j * kLanes] - top);
        for (int j = 0; j < 4; ++j) a[(i * 4 + j) * kLanes + l] = e[j] / t + eps;
      }
    normalise(1, false);
    for (int k = 1; k < iters; ++k) {
      normalise(2 * k, true);
      normalise(2 * k + 1, false);
    }
    return matrix(2 * iters - 1);
  }

  void normalise_backward(int k, bool rows, float* g) {
    const float* b = matrix(k);
    const float* d = sums(k);
    for (int i = 0; i < 4; ++i)
      for (int l = 0; l < kLanes; ++l) {
        float t = 0;
        for (int j = 0; j < 4; ++j) {
          const int e = (rows ? i * 4 + j : j * 4 + i) * kLanes + l;
          t += g[e] * b[e];
        }
        for (int j = 0; j < 4; ++j) {
          const int e = (rows ? i * 4 + j : j * 4 + i) * kLanes + l;
          g[e] = (g[e] - t) * d[i * kLanes + l];
        }
      }
  }

  // g [16, lanes]: gradient of the last matrix in, of the logits out. forward() must have run.
  void backward(float* g) {
    for (int k = iters - 1; k >= 1; --k) {
      normalise_backward(2 * k + 1, false, g);
      normalise_backward(2 * k, true, g);
    }
    normalise_backward(1, false, g);
    const float* a = matrix(0);
    for (int i = 0; i < 4; ++i)
      for (int l = 0; l < kLanes; ++l) {
        float t = 0;
        for (int j = 0; j < 4; ++j) {
          const int e = (i * 4 + j) * kLanes + l;
          t += g[e] * (a[e] - eps);
        }
        for (int j = 0; j < 4; ++j) {
          const int e = (i * 4 + j) * kLanes + l;
          g[e] = (g[e] - t) * (a[e] - eps);
        }
      }
  }
};

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

}  // namespace

// streams [N, 4*d], z = streams x fn^T [N, 24] -> normed mix [N, d], post [N, 4], comb [N, 16].
std::vector<Tensor> hc_pre(Tensor streams, Tensor z, Tensor scale, Tensor base, Tensor norm,
                           double eps_norm, double eps, int64_t iters) {
  const int64_t n = streams.size(0);
  const int d = streams.size(1) / kStreams;
  Tensor y = torch::empty({n, d}), post = torch::empty({n, 4}), comb = torch::empty({n, 16});
  const float *S = in(streams), *Z = in(z), *sc = in(scale), *ba = in(base), *w = in(norm);
  float *Y = out(y), *P = out(post), *C = out(comb);
  Sinkhorn sink(iters, eps);
  std::vector<float> logits(16 * kLanes, 0.0f);
  for (int64_t t0 = 0; t0 < n; t0 += kLanes) {
    const int lanes = std::min<int64_t>(kLanes, n - t0);
    for (int l = 0; l < lanes; ++l) {
      const int64_t t = t0 + l;
      const float* s = S + t * kStreams * d;
      const float* zt = Z + t * kMix;
      const float r = 1.0f / std::sqrt(dot(s, s, kStreams * d) / (kStreams * d) + (float)eps_norm);
      float pre[4];
      for (int i = 0; i < 4; ++i) {
        pre[i] = sigmoid(zt[i] * r * sc[0] + ba[i]) + (float)eps;
        P[t * 4 + i] = 2 * sigmoid(zt[4 + i] * r * sc[1] + ba[4 + i]);
      }
      for (int i = 0; i < 16; ++i) logits[i * kLanes + l] = zt[8 + i] * r * sc[2] + ba[8 + i];
      float* yt = Y + t * d;
      float q = 0;
      for (int k = 0; k < d; ++k) {
        yt[k] = pre[0] * s[k] + pre[1] * s[d + k] + pre[2] * s[2 * d + k] + pre[3] * s[3 * d + k];
        q += yt[k] * yt[k];
      }
      const float rn = 1.0f / std::sqrt(q / d + (float)eps_norm);
      for (int k = 0; k < d; ++k) yt[k] *= rn * w[k];
    }
    const float* m = sink.forward(logits.data());
    for (int l = 0; l < lanes; ++l)
      for (int i = 0; i < 16; ++i) C[(t0 + l) * 16 + i] = m[i * kLanes + l];
  }
  return {y, post, comb};
}

// -> gradients of streams, z, scale, base, norm.
std::vector<Tensor> hc_pre_backward(Tensor streams, Tensor z, Tensor scale, Tensor base,
                                    Tensor norm, Tensor gy, Tensor gpost, Tensor gcomb,
                                    double eps_norm, double eps, int64_t iters) {
  const int64_t n = streams.size(0);
  const int d = streams.size(1) / kStreams;
  Tensor gs = torch::empty_like(streams), gz = torch::empty_like(z), gw = torch::zeros_like(norm);
  Tensor gsc = torch::zeros_like(scale), gba = torch::zeros_like(base);
  const float *S = in(streams), *Z = in(z), *sc = in(scale), *ba = in(base), *w = in(norm);
  const float *GY = in(gy), *GP = in(gpost), *GC = in(gcomb);
  float *GS = out(gs), *GZ = out(gz), *GW = out(gw), *GSC = out(gsc), *GBA = out(gba);
  Sinkhorn sink(iters, eps);
  std::vector<float> logits(16 * kLanes, 0.0f), g(16 * kLanes, 0.0f), x(d), gx(d);
  for (int64_t t0 = 0; t0 < n; t0 += kLanes) {
    const int lanes = std::min<int64_t>(kLanes, n - t0);
    float r[kLanes];
    for (int l = 0; l < lanes; ++l) {
      const float* s = S + (t0 + l) * kStreams * d;
      r[l] = 1.0f / std::sqrt(dot(s, s, kStreams * d) / (kStreams * d) + (float)eps_norm);
      for (int i = 0; i < 16; ++i) {
        logits[i * kLanes + l] = Z[(t0 + l) * kMix + 8 + i] * r[l] * sc[2] + ba[8 + i];
        g[i * kLanes + l] = GC[(t0 + l) * 16 + i];
      }
    }
    sink.forward(logits.data());
    sink.backward(g.data());
    for (int l = 0; l < lanes; ++l) {
      const int64_t t = t0 + l;
      const float* s = S + t * kStreams * d;
      const float* zt = Z + t * kMix;
      float pre[4], sg[4], ga[kMix];
      for (int i = 0; i < 4; ++i) {
        sg[i] = sigmoid(zt[i] * r[l] * sc[0] + ba[i]);
        pre[i] = sg[i] + (float)eps;
      }
      float q = 0, gyx = 0;
      const float* gyt = GY + t * d;
      for (int k = 0; k < d; ++k) {
        x[k] = pre[0] * s[k] + pre[1] * s[d + k] + pre[2] * s[2 * d + k] + pre[3] * s[3 * d + k];
        q += x[k] * x[k];
        gyx += gyt[k] * w[k] * x[k];
      }
      const float rn = 1.0f / std::sqrt(q / d + (float)eps_norm);
      const float back = gyx * rn * rn * rn / d;
      for (int k = 0; k < d; ++k) {
        gx[k] = gyt[k] * w[k] * rn - back * x[k];
        GW[k] += gyt[k] * x[k] * rn;
      }
      for (int i = 0; i < 4; ++i) {
        ga[i] = dot(gx.data(), s + i * d, d) * sg[i] * (1 - sg[i]);
        const float p = sigmoid(zt[4 + i] * r[l] * sc[1] + ba[4 + i]);
        ga[4 + i] = GP[t * 4 + i] * 2 * p * (1 - p);
      }
      for (int i = 0; i < 16; ++i) ga[8 + i] = g[i * kLanes + l];
      float gr = 0;
      for (int i = 0; i < kMix; ++i) {
        const int part = i < 4 ? 0 : i < 8 ? 1 : 2;
        GBA[i] += ga[i];
        GSC[part] += ga[i] * zt[i] * r[l];
        gr += ga[i] * sc[part] * zt[i];
        GZ[t * kMix + i] = ga[i] * sc[part] * r[l];
      }
      const float c = -gr * r[l] * r[l] * r[l] / (kStreams * d);
      float* gst = GS + t * kStreams * d;
      for (int i = 0; i < 4; ++i)
        for (int k = 0; k < d; ++k) gst[i * d + k] = c * s[i * d + k] + pre[i] * gx[k];
    }
  }
  return {gs, gz, gsc, gba, gw};
}

// streams'[b] = post[b] y + sum_a comb[a][b] streams[a].
Tensor hc_post(Tensor y, Tensor streams, Tensor post, Tensor comb) {
  const int64_t n = y.size(0);
  const int d = y.size(1);
  Tensor o = torch::empty_like(streams);
  const float *Y = in(y), *S = in(streams), *P = in(post), *C = in(comb);
  float* O = out(o);
  for (int64_t t = 0; t < n; ++t) {
    const float *s = S + t * 4 * d, *c = C + t * 16, *yt = Y + t * d;
    for (int b = 0; b < 4; ++b) {
      float* ot = O + (t * 4 + b) * d;
      const float p = P[t * 4 + b];
      for (int k = 0; k < d; ++k)
        ot[k] = p * yt[k] + c[b] * s[k] + c[4 + b] * s[d + k] + c[8 + b] * s[2 * d + k] +
                c[12 + b] * s[3 * d + k];
    }
  }
  return o;
}

std::vector<Tensor> hc_post_backward(Tensor y, Tensor streams, Tensor post, Tensor comb,
                                     Tensor go) {
  const int64_t n = y.size(0);
  const int d = y.size(1);
  Tensor gy = torch::empty_like(y), gs = torch::empty_like(streams), gp = torch::empty_like(post);
  Tensor gc = torch::empty_like(comb);
  const float *Y = in(y), *S = in(streams), *P = in(post), *C = in(comb), *G = in(go);
  float *GY = out(gy), *GS = out(gs), *GP = out(gp), *GC = out(gc);
  for (int64_t t = 0; t < n; ++t) {
    const float *s = S + t * 4 * d, *c = C + t * 16, *yt = Y + t * d, *g = G + t * 4 * d;
    const float* p = P + t * 4;
    float* gyt = GY + t * d;
    for (int k = 0; k < d; ++k)
      gyt[k] = p[0] * g[k] + p[1] * g[d + k] + p[2] * g[2 * d + k] + p[3] * g[3 * d + k];
    for (int b = 0; b < 4; ++b) GP[t * 4 + b] = dot(g + b * d, yt, d);
    for (int a = 0; a < 4; ++a) {
      float* gst = GS + (t * 4 + a) * d;
      for (int k = 0; k < d; ++k)
        gst[k] = c[a * 4] * g[k] + c[a * 4 + 1] * g[d + k] + c[a * 4 + 2] * g[2 * d + k] +
                 c[a * 4 + 3] * g[3 * d + k];
      for (int b = 0; b < 4; ++b) GC[t * 16 + a * 4 + b] = dot(s + a * d, g + b * d, d);
    }
  }
  return {gy, gs, gp, gc};
}

// x [N, heads, D] -> RMS norm over D (times weight, if it has entries), then rotation of the last
// 2 * half entries by row (n % T) of cos and sin [T, half].
Tensor norm_rope(Tensor x, Tensor weight, Tensor cos, Tensor sin, double eps) {
  const int64_t n = x.size(0), T = cos.size(0);
  const int heads = x.size(1), D = x.size(2), half = cos.size(1), flat = D - 2 * half;
  Tensor o = torch::empty_like(x);
  const float *X = in(x), *W = weight.numel() ? in(weight) : nullptr, *c = in(cos), *s = in(sin);
  float* O = out(o);
  for (int64_t t = 0; t < n; ++t)
    for (int h = 0; h < heads; ++h) {
      const float* a = X + (t * heads + h) * D;
      float* b = O + (t * heads + h) * D;
      const float r = 1.0f / std::sqrt(dot(a, a, D) / D + (float)eps);
      if (W)
        for (int k = 0; k < D; ++k) b[k] = a[k] * r * W[k];
      else
        for (int k = 0; k < D; ++k) b[k] = a[k] * r;
      const float *ct = c + (t % T) * half, *st = s + (t % T) * half;
      for (int i = 0; i < half; ++i) {
        const float u = b[flat + 2 * i], v = b[flat + 2 * i + 1];
        b[flat + 2 * i] = u * ct[i] - v * st[i];
        b[flat + 2 * i + 1] = u * st[i] + v * ct[i];
      }
    }
  return o;
}

std::vector<Tensor> norm_rope_backward(Tensor x, Tensor weight, Tensor cos, Tensor sin, Tensor go,
                                       double eps) {
  const int64_t n = x.size(0), T = cos.size(0);
  const int heads = x.size(1), D = x.size(2), half = cos.size(1), flat = D - 2 * half;
  Tensor gx = torch::empty_like(x), gw = torch::zeros_like(weight);
  const float *X = in(x), *W = weight.numel() ? in(weight) : nullptr, *c = in(cos), *s = in(sin);
  const float* G = in(go);
  float *GX = out(gx), *GW = W ? out(gw) : nullptr;
  std::vector<float> g(D);
  for (int64_t t = 0; t < n; ++t)
    for (int h = 0; h < heads; ++h) {
      const float *a = X + (t * heads + h) * D, *go_t = G + (t * heads + h) * D;
      const float *ct = c + (t % T) * half, *st = s + (t % T) * half;
      std::copy(go_t, go_t + D, g.begin());
      for (int i = 0; i < half; ++i) {
        const float u = g[flat + 2 * i], v = g[flat + 2 * i + 1];
        g[flat + 2 * i] = u * ct[i] + v * st[i];
        g[flat + 2 * i + 1] = -u * st[i] + v * ct[i];
      }
      const float r = 1.0f / std::sqrt(dot(a, a, D) / D + (float)eps);
      if (W)
        for (int k = 0; k < D; ++k) {
          GW[k] += g[k] * a[k] * r;
          g[k] *= W[k];
        }
      const float back = dot(g.data(), a, D) * r * r * r / D;
      float* o = GX + (t * heads + h) * D;
      for (int k = 0; k < D; ++k) o[k] = g[k] * r - back * a[k];
    }
  return {gx, gw};
}

// Rotation alone, of the last entries of x [N, heads, D]; sign -1 turns back.
Tensor rope(Tensor x, Tensor cos, Tensor sin, double sign) {
  const int64_t n = x.size(0), T = cos.size(0);
  const int heads = x.size(1), D = x.size(2), half = cos.size(1), flat = D - 2 * half;
  Tensor o = x.clone();
  const float *c = in(cos), *s = in(sin);
  float* O = out(o);
  for (int64_t t = 0; t < n; ++t)
    for (int h = 0; h < heads; ++h) {
      float* b = O + (t * heads + h) * D + flat;
      const float *ct = c + (t % T) * half, *st = s + (t % T) * half;
      for (int i = 0; i < half; ++i) {
        const float u = b[2 * i], v = b[2 * i + 1], q = st[i] * (float)sign;
        b[2 * i] = u * ct[i] - v * q;
        b[2 * i + 1] = u * q + v * ct[i];
      }
    }
  return o;
}

// scores [B, queries * heads, keys], in place -> probabilities. Query i stands at t0 + i; key j <
// raw is position k0 + j, the others are compressed rows of `ratio` positions each.
void softmax(Tensor scores, Tensor sink, int64_t heads, int64_t t0, int64_t k0, int64_t raw,
             int64_t window, int64_t ratio, double scale) {
  const int64_t B = scores.size(0), rows = scores.size(1), keys = scores.size(2);
  float* base = scores.data_ptr<float>();
  const float* S = in(sink);
  const float f = scale;
  for (int64_t r = 0; r < B * rows; ++r) {
    const int64_t t = t0 + (r % rows) / heads;
    const int64_t lo = std::max<int64_t>(0, t - window + 1 - k0), hi = t - k0 + 1;
    const int64_t end = ratio ? std::min(keys, raw + (t + 1) / ratio) : raw;
    const float s0 = S[r % heads];
    float* x = base + r * keys;
    float top = s0;
    for (int64_t j = lo; j < hi; ++j) top = std::max(top, x[j] * f);
    for (int64_t j = raw; j < end; ++j) top = std::max(top, x[j] * f);
    float sum = std::exp(s0 - top);
    for (int64_t j = lo; j < hi; ++j) sum += x[j] = std::exp(x[j] * f - top);
    for (int64_t j = raw; j < end; ++j) sum += x[j] = std::exp(x[j] * f - top);
    const float inv = 1.0f / sum;
    std::fill(x, x + lo, 0.0f);
    for (int64_t j = lo; j < hi; ++j) x[j] *= inv;
    std::fill(x + hi, x + raw, 0.0f);
    for (int64_t j = raw; j < end; ++j) x[j] *= inv;
    std::fill(x + end, x + keys, 0.0f);
  }
}

// gp (gradient of the probabilities) becomes the gradient of the scores; adds to gsink [heads].
void softmax_backward(Tensor p, Tensor gp, Tensor gsink, int64_t heads, double scale) {
  const int64_t rows = p.size(0) * p.size(1), keys = p.size(2);
  const float* P = in(p);
  float *G = gp.data_ptr<float>(), *GS = gsink.data_ptr<float>();
  for (int64_t r = 0; r < rows; ++r) {
    const float* x = P + r * keys;
    float* g = G + r * keys;
    float sum = 0, d = 0;
    for (int64_t j = 0; j < keys; ++j) {
      sum += x[j];
      d += x[j] * g[j];
    }
    GS[r % heads] -= (1 - sum) * d;
    for (int64_t j = 0; j < keys; ++j) g[j] = x[j] * (g[j] - d) * (float)scale;
  }
}

// Overlapping windows of four. u, g [B, T, 2D], ape [4, 2D] -> [B, T / 4, D].
Tensor pool4(Tensor u, Tensor g, Tensor ape) {
  const int64_t B = u.size(0), T = u.size(1), M = T / 4;
  const int D = u.size(2) / 2;
  Tensor o = torch::empty({B, M, D});
  const float *U = in(u), *G = in(g), *A = in(ape);
  float* O = out(o);
  std::vector<float> sum(D), acc(D), top(D);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t j = 0; j < M; ++j) {
      std::fill(sum.begin(), sum.end(), 0.0f);
      std::fill(acc.begin(), acc.end(), 0.0f);
      std::fill(top.begin(), top.end(), -1e30f);
      for (int pass = 0; pass < 2; ++pass)
        for (int i = j ? 0 : 4; i < 8; ++i) {
          const int64_t at = (b * T + 4 * j - 4 + i) * 2 * D + (i < 4 ? 0 : D);
          const float *ut = U + at, *gt = G + at, *a = A + (i % 4) * 2 * D + (i < 4 ? 0 : D);
          if (pass == 0)
            for (int k = 0; k < D; ++k) top[k] = std::max(top[k], gt[k] + a[k]);
          else
            for (int k = 0; k < D; ++k) {
              const float e = std::exp(gt[k] + a[k] - top[k]);
              sum[k] += e;
              acc[k] += e * ut[k];
            }
        }
      for (int k = 0; k < D; ++k) O[(b * M + j) * D + k] = acc[k] / sum[k];
    }
  return o;
}

std::vector<Tensor> pool4_backward(Tensor u, Tensor g, Tensor ape, Tensor o, Tensor go) {
  const int64_t B = u.size(0), T = u.size(1), M = T / 4;
  const int D = u.size(2) / 2;
  Tensor gu = torch::zeros_like(u), gg = torch::zeros_like(g), ga = torch::zeros_like(ape);
  const float *U = in(u), *G = in(g), *A = in(ape), *O = in(o), *GO = in(go);
  float *GU = out(gu), *GG = out(gg), *GA = out(ga);
  std::vector<float> sum(D), top(D);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t j = 0; j < M; ++j) {
      std::fill(sum.begin(), sum.end(), 0.0f);
      std::fill(top.begin(), top.end(), -1e30f);
      const float *ot = O + (b * M + j) * D, *got = GO + (b * M + j) * D;
      for (int pass = 0; pass < 3; ++pass)
        for (int i = j ? 0 : 4; i < 8; ++i) {
          const int half = i < 4 ? 0 : D;
          const int64_t at = (b * T + 4 * j - 4 + i) * 2 * D + half;
          const float *ut = U + at, *gt = G + at, *a = A + (i % 4) * 2 * D + half;
          float *gut = GU + at, *ggt = GG + at, *gat = GA + (i % 4) * 2 * D + half;
          if (pass == 0)
            for (int k = 0; k < D; ++k) top[k] = std::max(top[k], gt[k] + a[k]);
          else if (pass == 1)
            for (int k = 0; k < D; ++k) sum[k] += std::exp(gt[k] + a[k] - top[k]);
          else
            for (int k = 0; k < D; ++k) {
              const float p = std::exp(gt[k] + a[k] - top[k]) / sum[k];
              const float d = p * got[k] * (ut[k] - ot[k]);
              gut[k] += p * got[k];
              ggt[k] += d;
              gat[k] += d;
            }
        }
    }
  return {gu, gg, ga};
}

// h [N, 2m] = gate, up -> silu(min(gate, limit)) * clamp(up) * weight[n].
Tensor swiglu(Tensor h, Tensor weight, double limit) {
  const int64_t n = h.size(0);
  const int m = h.size(1) / 2;
  Tensor o = torch::empty({n, m});
  const float *H = in(h), *W = weight.numel() ? in(weight) : nullptr, lim = limit;
  float* O = out(o);
  for (int64_t t = 0; t < n; ++t) {
    const float *a = H + t * 2 * m, *b = a + m, w = W ? W[t] : 1.0f;
    for (int k = 0; k < m; ++k) {
      const float g = std::min(a[k], lim), u = std::min(std::max(b[k], -lim), lim);
      O[t * m + k] = g / (1.0f + std::exp(-g)) * u * w;
    }
  }
  return o;
}

std::vector<Tensor> swiglu_backward(Tensor h, Tensor weight, Tensor go, double limit) {
  const int64_t n = h.size(0);
  const int m = h.size(1) / 2;
  Tensor gh = torch::empty_like(h), gw = torch::zeros_like(weight);
  const float *H = in(h), *W = weight.numel() ? in(weight) : nullptr, lim = limit;
  const float* G = in(go);
  float *GH = out(gh), *GW = W ? out(gw) : nullptr;
  for (int64_t t = 0; t < n; ++t) {
    const float *a = H + t * 2 * m, *b = a + m, w = W ? W[t] : 1.0f, *got = G + t * m;
    float *ga = GH + t * 2 * m, *gb = ga + m, acc = 0;
    for (int k = 0; k < m; ++k) {
      const float g = std::min(a[k], lim), u = std::min(std::max(b[k], -lim), lim);
      const float s = 1.0f / (1.0f + std::exp(-g));
      acc += got[k] * g * s * u;
      const float q = got[k] * w;
      ga[k] = a[k] < lim ? q * u * s * (1 + g * (1 - s)) : 0.0f;
      gb[k] = b[k] < lim && b[k] > -lim ? q * g * s : 0.0f;
    }
    if (GW) GW[t] = acc;
  }
  return {gh, gw};
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("hc_pre", &hc_pre);
  m.def("hc_pre_backward", &hc_pre_backward);
  m.def("hc_post", &hc_post);
  m.def("hc_post_backward", &hc_post_backward);
  m.def("norm_rope", &norm_rope);
  m.def("norm_rope_backward", &norm_rope_backward);
  m.def("rope", &rope);
  m.def("softmax", &softmax);
  m.def("softmax_backward", &softmax_backward);
  m.def("pool4", &pool4);
  m.def("pool4_backward", &pool4_backward);
  m.def("swiglu", &swiglu);
  m.def("swiglu_backward", &swiglu_backward);
}
