/* Both layers in C, as a port of them: gcc -O2 -o port port.c -lm && ./port VECTORS ANSWERS answers all cases.
   B rows, I inputs, O outputs, N nodes, l leaf width, K trees, M neurons of a tree, D of a path. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct { char name[32]; int rank, shape[6]; long size; double *v, *d; } Array; /* values, gradient */
static Array arrays[32], *node_w, *node_b, *in_w, *in_b, *out_w, *out_b, *transposed;
static int count, I, O, N, l, K, M, activation, id, level;
static double entropy, entropy_weight;
static Array *find(const char *name) {
  for (Array *a = arrays; a < arrays + count; a++) if (!strcmp(a->name, name)) return a;
  return NULL;
}
static double scalar(const char *name) { return find(name) ? find(name)->v[0] : 0; }
static double number(FILE *f, int binary, int code) { /* code: 1 int32, 2 float32, 3 float64 */
  union { int n; float s; double d; } raw = {0};
  if (binary ? fread(&raw, code == 3 ? 8 : 4, 1, f) != 1 : fscanf(f, "%lf", &raw.d) != 1) exit(2);
  return code == 2 ? (binary ? raw.s : (float)raw.d) : binary && code == 1 ? raw.n : raw.d;
}
static void read_case(FILE *f, int binary) {
  char dtype[16] = "";
  for (Array *a = &arrays[count = 0]; binary ? fread(a->name, 32, 1, f) == 1 : fscanf(f, "%31s %15s", a->name, dtype) == 2; a++, count++) {
    int code = binary ? number(f, 1, 1) : strcmp(dtype, "int32") ? strcmp(dtype, "float32") ? 3 : 2 : 1;
    a->rank = number(f, binary, 1), a->size = 1;
    for (int i = 0; i < (binary ? 6 : a->rank); i++) a->shape[i] = number(f, binary, 1), a->size *= i < a->rank ? a->shape[i] : 1;
    a->v = calloc(a->size + 1, 8), a->d = calloc(a->size + 1, 8);
    for (long i = 0; i < a->size; i++) a->v[i] = number(f, binary, code);
  }
  node_w = find("node_weight"), node_b = find("node_bias"), out_b = find("leaf_out_bias"), transposed = find("transposed");
  in_w = find(node_w ? "leaf_in_weight" : "in_weight"), in_b = find(node_w ? "leaf_in_bias" : "in_bias");
  out_w = find(node_w ? "leaf_out_weight" : "out_weight"), I = find("x")->shape[1], O = out_w ? out_w->shape[2] : 0;
  N = node_b ? node_b->size : 0, K = node_w ? 0 : in_b->shape[0], M = node_w ? 0 : in_b->shape[1];
  l = node_w && out_w ? out_w->shape[1] : 0, activation = scalar("activation"), entropy_weight = scalar("entropy_weight");
}
static void print(const char *prefix, const char *name, int rank, const int *shape, const double *v) {
  long size = 1;
  printf("\n%s%s float64 %d", prefix, name, rank);
  for (int i = 0; i < rank; i++) size *= shape[i], printf(" %d", shape[i]);
  for (long i = 0; i < size; i++) printf("\n%.17g", v[i]);
}
static double activate(double u, double *slope) {
  double cdf = (1 + erf(u / sqrt(2))) / 2, t = tanh(u);
  *slope = activation == 1 ? u > 0 : activation == 2 ? cdf + u * exp(-u * u / 2) / sqrt(8 * atan(1)) : activation == 3 ? 1 - t * t : 1;
  return activation == 1 ? (u <= 0 ? 0 : u) : activation == 2 ? u * cdf : activation == 3 ? t : u;
}
static double logit(Array *w, Array *b, long n, const double *x) { /* a neuron is row n of w and number n of b */
  double sum = b->v[n];
  for (int i = 0; i < I; i++) sum += w->v[n * I + i] * x[i];
  return sum;
}
static void logit_backward(Array *w, Array *b, long n, double d, const double *x, double *dx) {
  b->d[n] += d;
  for (int i = 0; i < I; i++) w->d[n * I + i] += d * x[i], dx[i] += d * w->v[n * I + i];
}
/* Without dy, these add a share of an output to y. With dy, they add gradients, and return what one unit of share is worth. */
static double neuron(long n, const double *x, double share, double *y, const double *dy, double *dx) {
  double slope, h = activate(logit(in_w, in_b, n, x), &slope), dh = 0, *w = out_w->v + n * O;
  for (int o = 0; o < O; o++) if (dy) out_w->d[n * O + o] += share * h * dy[o], dh += dy[o] * w[o]; else y[o] += share * h * w[o];
  if (dy) logit_backward(in_w, in_b, n, share * dh * slope, x, dx);
  return h * dh;
}
static double leaf(int j, const double *x, double share, double *y, const double *dy, double *dx) {
  double worth = 0, *b = out_b->v + j * O;
  for (int o = 0; o < O; o++) if (dy) out_b->d[j * O + o] += share * dy[o], worth += dy[o] * b[o]; else y[o] += share * b[o];
  for (int k = 0; k < l; k++) worth += neuron(j * l + k, x, share, y, dy, dx);
  return worth;
}
static double tree(int n, int row, const double *x, double share, double *y, const double *dy, double *dx) { /* soft, below node n */
  if (n >= N) return leaf(n - N, x, share, y, dy, dx);
  double scale = (transposed && transposed->v[row * N + n] ? -1 : 1) / scalar("temperature"), z = scale * logit(node_w, node_b, n, x);
  double p = 1 / (1 + exp(-z)), a = fabs(z);
  if (!dy) entropy += log1p(exp(-a)) + a / (1 + exp(a)); /* no logarithm of 0 */
  double left = tree(2 * n + 1, row, x, share * (1 - p), y, dy, dx), right = tree(2 * n + 2, row, x, share * p, y, dy, dx);
  if (dy) logit_backward(node_w, node_b, n, (share * (right - left) - entropy_weight * z) * p * (1 - p) * scale, x, dx);
  return (1 - p) * left + p * right;
}
static int leaf_route(int n, const double *x) { return n < N ? leaf_route(2 * n + 1 + (logit(node_w, node_b, n, x) >= 0), x) : n - N; }
static void path(const double *x, double *nodes, double *y, const double *dy, double *dx) { /* y and dy may both be missing */
  for (int k = 0; k < K; k++)
    for (int n = 0; n < M; n = 2 * n + 1 + (logit(in_w, in_b, k * M + n, x) > 0))
      if (*nodes++ = n, y || dy) neuron(k * M + n, x, 1, y, dy, dx);
}
static void answer(void) {
  Array *xs = find("x"), *given = find(level == 4 ? "dy" : "target");
  int B = xs->shape[0], is_leaf = scalar("layer") == 1, steps = level == 5 ? 10 : 1, D = M ? round(log2(M + 1)) : 0;
  double *ys = calloc(B * O + 1, 8), *route = calloc(B * K * D + B + 1, 8), *dy = calloc(O + 1, 8), loss[10] = {0};
  for (int step = 0; step < steps; step++) {
    memset(ys, entropy = 0, B * O * sizeof *ys);
    for (int b = 0; b < B; b++) {
      double *x = xs->v + b * I, *dx = xs->d + b * I, *y = ys + b * O;
      if (is_leaf && level == 1) route[b] = leaf_route(0, x);
      if (is_leaf && level == 2) leaf(leaf_route(0, x), x, 1, y, NULL, NULL);
      if (is_leaf && level > 2) tree(0, b, x, 1, y, NULL, NULL);
      if (!is_leaf) path(x, route + b * K * D, level > 1 ? y : NULL, NULL, NULL);
      for (int o = 0; level > 3 && o < O; o++)
        dy[o] = level == 4 ? given->v[b * O + o] : y[o] - given->v[b * O + o], loss[step] += dy[o] * dy[o] / 2;
      if (level > 3) is_leaf ? (void)tree(0, b, x, 1, NULL, dy, dx) : path(x, route + b * K * D, NULL, dy, dx);
    }
    loss[step] += entropy_weight * entropy;
    for (Array *a = arrays; level == 5 && a < arrays + count; a++)
      for (long i = 0; i < a->size; a->d[i++] = 0) if (a != xs) a->v[i] -= scalar("rate") * a->d[i];
  }
  if (level == 1) print("", is_leaf ? "leaf" : "node", is_leaf ? 1 : 3, (int[]){B, K, D}, route);
  if (level == 2 || level == 3) print("", "y", 2, (int[]){B, O}, ys), print("", "entropy", 0, NULL, &entropy);
  if (level == 5) print("", "loss", 1, &steps, loss);
  for (Array *a = arrays; level > 3 && a < arrays + count; a++)
    if ((a == xs && level == 4) || (a->rank && (strstr(a->name, "weight") || strstr(a->name, "bias"))))
      print(level == 4 ? "d_" : "", a->name, a->rank, a->shape, level == 4 ? a->d : a->v);
}
int main(int argc, char **argv) {
  char name[512] = "usage: port VECTORS ANSWERS", file[64];
  if (argc != 3 || snprintf(name, sizeof name, "%s/index.txt", argv[1]) < 0) return puts(name), 2;
  for (FILE *index = fopen(name, "r"); index && fscanf(index, "%d %d %*s %63s %*s", &id, &level, file) == 3;) {
    snprintf(name, sizeof name, "%s/%s", argv[1], file), read_case(fopen(name, "rb"), strstr(file, ".bin") != NULL);
    snprintf(name, sizeof name, "%s/%d.txt", argv[2], id);
    if (freopen(name, "w", stdout)) answer();
  }
}
