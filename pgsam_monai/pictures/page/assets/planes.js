// Planes: how slices lie in the arrays, on the screen, in the file and in the patient.

const FLAT = CASE.planes[0] === "stored" && NZ === 1; // a picture: rows and columns, no third axis
const STRIDES = [1, NX, SLICE];
const PLANES = {
  axial: { title: "Axial", axis: 2, columns: 0, rows: 1, down: 1, ends: ["R", "L", "A", "P"] },
  coronal: { title: "Coronal", axis: 1, columns: 0, rows: 2, down: -1, ends: ["R", "L", "S", "I"] },
  sagittal: { title: "Sagittal", axis: 0, columns: 1, rows: 2, down: -1, ends: ["A", "P", "S", "I"] },
  stored: { title: FLAT ? "Picture" : "Slices", axis: 2, columns: 0, rows: 1, down: 1, ends: ["", "", "", ""] },
};

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

// Voxel at column 0 and row 0 of a slice, and the steps from column to column and from row to row.
function layoutOf(plane, slice) {
  const width = CASE.shape[plane.columns];
  const height = CASE.shape[plane.rows];
  const base = slice * STRIDES[plane.axis] + (plane.down < 0 ? (height - 1) * STRIDES[plane.rows] : 0);
  return { width, height, base, right: STRIDES[plane.columns], below: plane.down * STRIDES[plane.rows] };
}

// Column and row, counted from 0, of a voxel [x, y, z].
function cellOf(plane, at) {
  const row = at[plane.rows];
  return [at[plane.columns], plane.down > 0 ? row : CASE.shape[plane.rows] - 1 - row];
}

function voxelAt(plane, slice, column, row) {
  const at = [0, 0, 0];
  at[plane.axis] = slice;
  at[plane.columns] = clamp(column, 0, CASE.shape[plane.columns] - 1);
  const height = CASE.shape[plane.rows];
  at[plane.rows] = clamp(plane.down > 0 ? row : height - 1 - row, 0, height - 1);
  return at;
}

// Where a slice lies on a canvas: left, top, and the size of a voxel, in pixels of the canvas.
function frameOf(plane, canvas, zoom, centre) {
  const width = CASE.shape[plane.columns];
  const height = CASE.shape[plane.rows];
  const [across, along] = [CASE.spacing[plane.columns], CASE.spacing[plane.rows]];
  const scale = zoom * Math.min(canvas.width / (width * across), canvas.height / (height * along));
  const [sx, sy] = [scale * across, scale * along];
  const place = (size, step, count, middle) =>
    count * step <= size ? (size - count * step) / 2 : clamp(size / 2 - middle * step, size - count * step, 0);
  return {
    left: place(canvas.width, sx, width, centre ? centre[0] : width / 2),
    top: place(canvas.height, sy, height, centre ? centre[1] : height / 2),
    sx,
    sy,
    width,
    height,
  };
}

function indexOf(at) {
  return at[0] + NX * at[1] + SLICE * at[2];
}

// The file's voxel [i, j, k] of a shown one: the middle one of those that it stands for.
function fileVoxel(at) {
  const voxel = [0, 0, 0];
  CASE.fileAxes.forEach((axis, n) => {
    const size = CASE.fileShape[axis];
    const along = Math.min(at[n] * CASE.factors[n] + (CASE.factors[n] >> 1), size - 1);
    voxel[axis] = CASE.flips[n] ? size - 1 - along : along;
  });
  return voxel;
}

function shownVoxel(voxel) {
  return CASE.fileAxes.map((axis, n) => {
    const size = CASE.fileShape[axis];
    const along = CASE.flips[n] ? size - 1 - voxel[axis] : voxel[axis];
    return clamp(Math.floor(along / CASE.factors[n]), 0, CASE.shape[n] - 1);
  });
}

function millimetres(voxel) {
  return CASE.affine.map((row) => row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3]);
}

