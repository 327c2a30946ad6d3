// The viewer of whole slides, by OpenSeadragon. The server sends the scores of a slide once; opacity and threshold of
// their layer change without it.

window.vigil.slide = (() => {
  const NONE = 255; // the level of a cell without a score
  let script, viewer, viewed, layer, clicked, sent;
  let opacity = 0.6;
  let threshold = 0;

  const load = () => {
    script ??= new Promise((done, failed) => {
      const element = document.createElement("script");
      Object.assign(element, { src: "slides/viewer.js", onload: done, onerror: failed });
      document.head.append(element);
    });
    return script;
  };
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  // The scores as an image of one pixel per cell, transparent below the threshold.
  const drawn = () => {
    const canvas = document.createElement("canvas");
    canvas.width = viewed.columns;
    canvas.height = viewed.rows;
    const context = canvas.getContext("2d");
    const image = context.createImageData(viewed.columns, viewed.rows);
    const palette = bytes(viewed.palette);
    bytes(viewed.scores).forEach((level, cell) => {
      if (level === NONE || level / 254 < threshold) return;
      const colour = Math.round((level / 254) * 255);
      image.data.set([...palette.slice(3 * colour, 3 * colour + 3), Math.max(colour, 64)], 4 * cell);
    });
    context.putImageData(image, 0, 0);
    return canvas.toDataURL();
  };
  const redraw = () => {
    if (!viewer || !viewed?.scores) return;
    const earlier = layer;
    viewer.addSimpleImage({
      url: drawn(),
      width: (viewed.columns * viewed.cell) / viewed.width,
      opacity,
      success: ({ item }) => {
        if (earlier) viewer.world.removeItem(earlier);
        layer = item;
      },
    });
  };

  // A bar of a round length, at most a fifth of the viewer's width.
  const measure = () => {
    const bar = document.querySelector(".v-slide-bar");
    const zoom = viewer.world.getItemAt(0)?.viewportToImageZoom(viewer.viewport.getZoom(true));
    if (!bar || !zoom) return;
    const pixel = viewed.mpp / zoom; // micrometres
    const most = (viewer.container.clientWidth / 5) * pixel;
    const power = 10 ** Math.floor(Math.log10(most));
    const length = Math.max(...[1, 2, 5].map((unit) => unit * power).filter((one) => one <= most));
    bar.style.width = `${length / pixel}px`;
    bar.firstElementChild.textContent = length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
  };

  return {
    // Show a slide. Returns the threshold that its scores were counted at.
    async open(found, id, shown) {
      viewed = found;
      opacity = shown;
      threshold = found?.report?.threshold ?? 0;
      layer = undefined;
      viewer?.destroy();
      viewer = undefined;
      if (!found) return threshold;
      await load();
      const levels = Math.round(Math.log2(found.coarsest));
      // The navigator has the shape of the slide, and a quarter of the viewer's shorter side at most.
      const place = document.querySelector("#slide-viewer");
      const scale = Math.min(place.clientWidth, place.clientHeight) / 4 / Math.max(found.width, found.height);
      viewer = OpenSeadragon({
        id: "slide-viewer",
        drawer: "canvas",
        showNavigationControl: false,
        showNavigator: true,
        navigatorAutoFade: false,
        navigatorPosition: "TOP_RIGHT",
        navigatorWidth: Math.round(found.width * scale),
        navigatorHeight: Math.round(found.height * scale),
        navigatorBackground: "#fff",
        navigatorOpacity: 1,
        navigatorBorderColor: "#1a1a1a",
        navigatorDisplayRegionColor: "#c00",
        imageSmoothingEnabled: false,
        maxZoomPixelRatio: 4,
        gestureSettingsMouse: { clickToZoom: false },
        gestureSettingsTouch: { clickToZoom: false },
        tileSources: {
          width: found.width,
          height: found.height,
          tileSize: found.tile,
          minLevel: 0,
          maxLevel: levels,
          getTileUrl: (level, column, row) => `slides/${id}/${2 ** (levels - level)}/${column}_${row}.jpg`,
        },
      });
      viewer.addHandler("open", () => {
        redraw();
        measure();
      });
      viewer.addHandler("animation", measure);
      viewer.addHandler("resize", measure);
      viewer.addHandler("canvas-click", (event) => {
        if (!event.quick) return;
        const place = viewer.viewport.pointFromPixel(event.position);
        clicked = [place.x * viewed.width, place.y * viewed.width];
        document.querySelector("#slide-ask").click();
      });
      return threshold;
    },
    fade(value) {
      opacity = value;
      layer?.setOpacity(value);
    },
    cut(value) {
      if (value === threshold) return;
      threshold = value;
      redraw();
    },
    fly(x, y, width, height) {
      const around = 4;
      const box = [x - around * width, y - around * height, (2 * around + 1) * width, (2 * around + 1) * height];
      viewer?.viewport.fitBounds(new OpenSeadragon.Rect(...box.map((value) => value / viewed.width)));
      clicked = [x + width / 2, y + height / 2];
      document.querySelector("#slide-ask").click();
    },
    // Send a slide to the server, which answers with its id, and have it read.
    send(input) {
      const [file] = input.files;
      const status = document.querySelector(".v-slide-sending");
      const { most, sending, large, lost } = input.dataset;
      if (!file) return;
      if (file.size > most * 1e6) {
        status.textContent = large;
        return;
      }
      const request = new XMLHttpRequest();
      const end = (sentence) => {
        status.textContent = sentence;
        input.disabled = false;
        input.value = "";
      };
      request.upload.onprogress = ({ loaded, total }) => {
        status.textContent = `${sending} ${Math.floor((100 * loaded) / total)}%`;
      };
      request.onerror = () => end(lost);
      request.responseType = "json"; // null if a proxy answers with a page of its own
      request.onload = () => {
        const done = request.status === 200 && request.response;
        end(done ? "" : request.response?.detail ?? lost);
        if (!done) return;
        sent = done.id;
        document.querySelector("#slide-score").click();
      };
      request.open("POST", `slides/upload?name=${encodeURIComponent(file.name)}`);
      input.disabled = true;
      request.send(file);
    },
    sent: () => sent ?? "",
    point: () => (clicked ?? []).join(","),
  };
})();
