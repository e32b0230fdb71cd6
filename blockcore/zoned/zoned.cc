#include "blockcore/zoned/zoned.h"

#include <utility>

#include "blockcore/io_thread.h"
#include "blockcore/zone_model.h"
#include "blockcore/zone_queue.h"
#include "blockcore/zoned/zoned_image.h"

namespace minivmm {
namespace {

class ZonedNode : public BlockNode {
 public:
  ZonedNode(std::unique_ptr<ZonedImage> image, ZoneModel model)
      : image_(std::move(image)), queue_(*image_, std::move(model)) {}

  const BlockLimits& limits() const override { return queue_.limits(); }
  void Submit(IoThread& thread, BlockRequest& request) override { queue_.Submit(thread, request); }

 private:
  std::unique_ptr<ZonedImage> image_;
  ZoneQueue queue_;
};

}  // namespace

Result<std::unique_ptr<BlockNode>> OpenZoned(BlockNode& child, const ZonedOptions& options) {
  TRY(std::unique_ptr<IoThread> thread, IoThread::Start("zoned-open"));
  return OpenZoned(*thread, child, options);
}

Result<std::unique_ptr<BlockNode>> OpenZoned(IoThread& thread, BlockNode& child,
                                             const ZonedOptions& options) {
  const bool read_only = options.read_only || child.limits().read_only;
  Result<std::unique_ptr<ZonedImage>> image = ZonedImage::Open(thread, child, read_only);
  if (!image) return Fail("driver 'zoned' cannot use the image: {}", image.error().message);
  TRY(ZoneModel model, ZoneModel::Create((*image)->limits(), (*image)->ReportZones()));
  return std::make_unique<ZonedNode>(std::move(*image), std::move(model));
}

}  // namespace minivmm
