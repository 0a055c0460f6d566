/* A service in C: answers the lines of stdin with an exported classifier.
 *
 *     client FOLDER < texts        prints for each line: label, confidence, probabilities
 *
 * Tensors are found by the signature that the SavedModel declares, because their own names differ
 * from export to export. Nothing but TensorFlow's C library is needed. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void check(TF_Status *status, const char *what) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

/* === The little of protocol buffers that a signature takes === */

typedef struct {
  const uint8_t *at, *end;
} Bytes;

static uint64_t varint(Bytes *from) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && from->at < from->end; shift += 7) {
    uint8_t byte = *from->at++;
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return value;
  }
  fail("signature", "not a protocol buffer");
  return 0;
}

/* The next field: its number, and for fields with a length what they hold. 0 at the end. */
static int next(Bytes *from, Bytes *value) {
  if (from->at >= from->end) return 0;
  uint64_t tag = varint(from), length;
  value->at = value->end = from->at;
  switch (tag & 7) {
    case 0:
      varint(from);
      break;
    case 1:
      from->at += 8;
      break;
    case 2:
      length = varint(from);
      if (length > (uint64_t)(from->end - from->at)) fail("signature", "cut off");
      value->at = from->at;
      value->end = from->at += length;
      break;
    case 5:
      from->at += 4;
      break;
    default:
      fail("signature", "unknown wire type");
  }
  return (int)(tag >> 3);
}

/* The value that a map, field `number` of a message, has for a key; its length is 0 if none. */
static Bytes entry(Bytes message, int number, const char *key) {
  Bytes field, part, none = {NULL, NULL};
  for (int n; (n = next(&message, &field));) {
    if (n != number) continue;
    Bytes value = none;
    int found = 0;
    for (Bytes pair = field; (n = next(&pair, &part));) {
      size_t length = (size_t)(part.end - part.at);
      if (n == 1) found = length == strlen(key) && !memcmp(part.at, key, length);
      if (n == 2) value = part;
    }
    if (found) return value;
  }
  return none;
}

/* TensorInfo.name, "operation:index", as an output of the graph. */
static TF_Output tensor(TF_Graph *graph, Bytes info, const char *key) {
  Bytes field;
  for (int n; (n = next(&info, &field));) {
    if (n != 1) continue;
    char name[512];
    snprintf(name, sizeof name, "%.*s", (int)(field.end - field.at), (const char *)field.at);
    char *colon = strrchr(name, ':');
    int index = colon ? atoi(colon + 1) : 0;
    if (colon) *colon = 0;
    TF_Output output = {TF_GraphOperationByName(graph, name), index};
    if (!output.oper) fail(key, "its tensor is not in the graph");
    return output;
  }
  fail(key, "not in the signature");
  exit(1);
}

/* === Texts in, answers out === */

static void forget(void *data, size_t length, void *argument) {
  TF_TString *strings = data;
  for (size_t i = 0; i < length / sizeof *strings; ++i) TF_StringDealloc(&strings[i]);
  free(data);
  (void)argument;
}

int main(int argc, char **argv) {
  if (argc != 2) fail("usage", "client FOLDER < texts");
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Buffer *meta = TF_NewBuffer();
  const char *tags[] = {"serve"};
  TF_Session *session =
      TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, meta, status);
  check(status, argv[1]);

  Bytes meta_graph = {meta->data, (const uint8_t *)meta->data + meta->length};
  Bytes signature = entry(meta_graph, 5, "serving_default"); /* MetaGraphDef.signature_def */
  TF_Output input = tensor(graph, entry(signature, 1, "text"), "text");
  const char *keys[] = {"label", "confidence", "probabilities"};
  TF_Output outputs[3];
  for (int i = 0; i < 3; ++i) outputs[i] = tensor(graph, entry(signature, 2, keys[i]), keys[i]);

  size_t count = 0, room = 0, size = 0;
  char *line = NULL;
  TF_TString *texts = NULL;
  for (ssize_t length; (length = getline(&line, &size, stdin)) >= 0; ++count) {
    if (count == room) texts = realloc(texts, (room = 2 * room + 16) * sizeof *texts);
    if (length && line[length - 1] == '\n') --length;
    TF_StringInit(&texts[count]);
    TF_StringCopy(&texts[count], line, (size_t)length);
  }
  int64_t shape[] = {(int64_t)count};
  TF_Tensor *batch =
      TF_NewTensor(TF_STRING, shape, 1, texts, count * sizeof *texts, forget, NULL);
  TF_Tensor *answers[3];
  TF_SessionRun(session, NULL, &input, &batch, 1, outputs, answers, 3, NULL, 0, NULL, status);
  check(status, "run");

  const TF_TString *labels = TF_TensorData(answers[0]);
  const float *confidence = TF_TensorData(answers[1]), *p = TF_TensorData(answers[2]);
  int64_t num_classes = TF_Dim(answers[2], 1);
  for (size_t i = 0; i < count; ++i) {
    printf("%.*s\t%.9g", (int)TF_StringGetSize(&labels[i]), TF_StringGetDataPointer(&labels[i]),
           confidence[i]);
    for (int64_t c = 0; c < num_classes; ++c) printf("\t%.9g", p[i * (size_t)num_classes + c]);
    printf("\n");
  }

  for (int i = 0; i < 3; ++i) TF_DeleteTensor(answers[i]);
  TF_DeleteTensor(batch);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteGraph(graph);
  TF_DeleteSessionOptions(options);
  TF_DeleteBuffer(meta);
  TF_DeleteStatus(status);
  free(line);
  return 0;
}
