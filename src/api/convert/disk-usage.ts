/** `docker system df`: what images, containers and volumes take on this node's disk. Pure. */
import type { ContainerInfo, ImageInfo } from '../../containerd/runtime.ts';
import { imageSummary } from './image.ts';

/** A layer lies on those below it: the same contents on other layers is another layer. */
const chainOf = ({ layers }: ImageInfo): readonly string[] =>
  layers.map((_, index) => layers.slice(0, index + 1).join('/'));

/** Bytes of each layer that some image has, and how many images have it. */
function layerTable(images: readonly ImageInfo[]) {
  const table = new Map<string, { readonly size: number; images: number }>();
  for (const image of images)
    chainOf(image).forEach((key, index) => {
      const layer = table.get(key);
      if (layer) layer.images += 1;
      else table.set(key, { size: image.layerSizes[index] ?? 0, images: 1 });
    });
  return table;
}

export function imageUsage(images: readonly ImageInfo[], containers: readonly ContainerInfo[]) {
  const table = layerTable(images);
  const shared = (image: ImageInfo): number =>
    chainOf(image).reduce((sum, key) => {
      const layer = table.get(key)!;
      return layer.images > 1 ? sum + layer.size : sum;
    }, 0);
  return {
    LayersSize: [...table.values()].reduce((sum, { size }) => sum + size, 0),
    Images: images.map((image) => ({
      ...imageSummary(image),
      SharedSize: shared(image),
      Containers: containers.filter(({ imageId }) => imageId === image.id).length,
    })),
  };
}
