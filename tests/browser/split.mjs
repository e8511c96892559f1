// Cuts a GGUF file into the parts that `gguf-split` of the llama.cpp project makes of it.

const ALIGNMENT = 32;
/** Bytes of a metadata value by its type's number; strings and arrays tell theirs. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, null, null, 8, 8, 8];
const STRING = 8;
const ARRAY = 9;

/** The parts of `file` as a file chooser takes them: `name-00001-of-00002.gguf` and so on. */
export function splitGguf(file, name, count) {
  const { version, nMetadata, metadata, tensors } = read(file);
  const perPart = Math.ceil(tensors.length / count);
  return Array.from({ length: count }, (_, no) => {
    const split = [
      entry('split.no', 2, uint16(no)),
      entry('split.count', 2, uint16(count)),
      entry('split.tensors.count', 5, uint32(tensors.length)),
    ];
    const mine = tensors.slice(no * perPart, (no + 1) * perPart);
    const before = no === 0 ? [metadata] : [];
    const nEntries = split.length + (no === 0 ? nMetadata : 0);
    let offset = 0;
    const directory = mine.map((tensor) => {
      const described = Buffer.concat([tensor.description, uint64(offset)]);
      offset += aligned(tensor.data.length);
      return described;
    });
    const head = Buffer.concat([
      Buffer.from('GGUF'),
      uint32(version),
      uint64(mine.length),
      uint64(nEntries),
      ...before,
      ...split,
      ...directory,
    ]);
    const digits = (number) => String(number).padStart(5, '0');
    return {
      name: `${name}-${digits(no + 1)}-of-${digits(count)}.gguf`,
      mimeType: '',
      buffer: Buffer.concat([head, ...mine.map(({ data }) => data)].map(padded)),
    };
  });
}

function read(file) {
  let at = 4;
  const take = (nBytes) => file.subarray(at, (at += nBytes));
  const number32 = () => take(4).readUInt32LE();
  const number64 = () => Number(take(8).readBigUInt64LE());
  const skipValue = (type) => {
    if (type === STRING) take(number64());
    else if (type === ARRAY) {
      const element = number32();
      for (let n = number64(); n > 0; n -= 1) skipValue(element);
    } else take(VALUE_BYTES[type]);
  };
  const version = number32();
  const nTensors = number64();
  const nMetadata = number64();
  const start = at;
  for (let n = 0; n < nMetadata; n += 1) {
    take(number64());
    skipValue(number32());
  }
  const metadata = file.subarray(start, at);
  const tensors = Array.from({ length: nTensors }, () => {
    const from = at;
    take(number64());
    take(8 * number32() + 4);
    return { description: file.subarray(from, at), offset: number64() };
  });
  // A tensor reaches to the next one, or to the end.
  const dataStart = aligned(at);
  const offsets = [...tensors.map(({ offset }) => offset), file.length - dataStart].sort((a, b) => a - b);
  for (const tensor of tensors) {
    const end = offsets.find((offset) => offset > tensor.offset);
    tensor.data = file.subarray(dataStart + tensor.offset, dataStart + end);
  }
  return { version, nMetadata, metadata, tensors };
}

const aligned = (n) => Math.ceil(n / ALIGNMENT) * ALIGNMENT;
const padded = (bytes) => Buffer.concat([bytes], aligned(bytes.length));

function entry(key, type, value) {
  return Buffer.concat([uint64(key.length), Buffer.from(key), uint32(type), value]);
}

function uint16(value) {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function uint32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function uint64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
