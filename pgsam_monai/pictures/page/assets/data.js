"use strict";
// The case: facts as JSON, voxels as base64 of gzip. Arrays run x fastest, then y, then z; see page/encode.py.

const CASE = JSON.parse(document.getElementById("case").textContent);
const [NX, NY, NZ] = CASE.shape;
const SLICE = NX * NY;
const greys = Array.from({ length: CASE.colour ? 3 : 1 }, () => new Uint16Array(SLICE * NZ));
const maps = {}; // "prediction" and "reference": 0 for background, else 1 + the place in CASE.classes
const unpacked = new Uint8Array(NZ); // 1 for slices whose grey values are there

function takeBlock(id) {
  const block = document.getElementById(id);
  const text = block.textContent;
  block.remove(); // its text is as long as the data
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let n = 0; n < bytes.length; n++) bytes[n] = binary.charCodeAt(n);
  return bytes;
}

async function unpack(id) {
  const stream = new Blob([takeBlock(id)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpackMap(role) {
  const bytes = await unpack(role);
  maps[role] = CASE.classBytes === 1 ? bytes : new Uint16Array(bytes.buffer);
}

// Adds differences up to codes, slice by slice; low bytes come before high ones.
function addUp(bytes, codes) {
  const count = bytes.length / 2;
  for (let n = 0; n < count; n++) {
    const folded = bytes[n] | (bytes[count + n] << 8);
    const difference = (folded >>> 1) ^ -(folded & 1);
    const inSlice = n % SLICE;
    const column = inSlice % NX;
    let foretold = 0;
    if (inSlice >= NX) foretold = column ? (codes[n - 1] + codes[n - NX]) >> 1 : codes[n - NX];
    else if (column) foretold = codes[n - 1];
    codes[n] = foretold + difference;
  }
}

async function unpackSlab(slab) {
  const first = slab * CASE.slabSlices;
  const last = Math.min(first + CASE.slabSlices, NZ);
  for (let channel = 0; channel < greys.length; channel++) {
    const bytes = await unpack(`grey-${channel}-${slab}`);
    addUp(bytes, greys[channel].subarray(first * SLICE, last * SLICE));
  }
  unpacked.fill(1, first, last);
}

// Slabs from the one that holds slice z outwards.
function slabsFrom(z) {
  const slabs = Array.from({ length: Math.ceil(NZ / CASE.slabSlices) }, (_, n) => n);
  const start = Math.floor(z / CASE.slabSlices);
  return slabs.sort((a, b) => Math.abs(a - start) - Math.abs(b - start));
}

