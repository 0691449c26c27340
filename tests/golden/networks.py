"""The networks of src/models as PyTorch modules, written as a PyTorch user would write them, so that
parameter names, layouts and numbers can be compared. Needs torch, nothing else."""

import torch
from torch import nn
from torch.nn import functional


def conv3x3(inputs, outputs, stride=1):
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


class Mlp(nn.Module):
    def __init__(self, inputs, hidden, classes):
        super().__init__()
        widths = [inputs, *hidden, classes]
        for i, (a, b) in enumerate(zip(widths, widths[1:]), 1):
            setattr(self, f"fc{i}", nn.Linear(a, b))
        self.relu = nn.ReLU()
        self.layers = len(widths) - 1

    def forward(self, x):
        x = x.flatten(1)
        for i in range(1, self.layers):
            x = self.relu(getattr(self, f"fc{i}")(x))
        return getattr(self, f"fc{self.layers}")(x)


class Cnn(nn.Module):
    """Three 3x3 convolutions, each followed by ReLU and pooling, and two dense layers."""

    def __init__(self, channels, size, classes):
        super().__init__()
        widths = (channels, 16, 32, 64)
        for i, (a, b) in enumerate(zip(widths, widths[1:]), 1):
            setattr(self, f"conv{i}", nn.Conv2d(a, b, 3, padding=1))
        self.fc1, self.fc2 = nn.Linear(64 * (size // 8) ** 2, 128), nn.Linear(128, classes)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2)

    def forward(self, x):
        for conv in (self.conv1, self.conv2, self.conv3):
            x = self.pool(self.relu(conv(x)))
        return self.fc2(self.relu(self.fc1(x.flatten(1))))


class CifarBlock(nn.Module):
    """Option A of He et al. 2016, section 4.2: the shortcut has no parameters."""

    expansion = 1

    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(inputs, planes, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes), nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        self.stride, self.added = stride, planes - inputs

    def shortcut(self, x):
        if self.stride == 1 and self.added == 0:
            return x
        half = self.added // 2
        x = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, half, self.added - half))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(inputs, planes, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes), nn.BatchNorm2d(planes)
        self.downsample = projection(inputs, planes, stride)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (self.downsample(x) if self.downsample else x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs, planes, stride):
        super().__init__()
        outputs = 4 * planes
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes, stride), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = projection(inputs, outputs, stride)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (self.downsample(x) if self.downsample else x))


class PlainBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(inputs, planes, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes), nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


def projection(inputs, outputs, stride):
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
    )


def stage(block, inputs, planes, blocks, stride):
    layers = [block(inputs, planes, stride)]
    layers += [block(planes * block.expansion, planes, 1) for _ in range(blocks - 1)]
    return nn.Sequential(*layers)


class CifarResNet(nn.Module):
    def __init__(self, depth, channels, classes):
        super().__init__()
        n = (depth - 2) // 6
        self.conv1, self.bn1 = conv3x3(channels, 16), nn.BatchNorm2d(16)
        self.layer1 = stage(CifarBlock, 16, 16, n, 1)
        self.layer2 = stage(CifarBlock, 16, 32, n, 2)
        self.layer3 = stage(CifarBlock, 32, 64, n, 2)
        self.linear = nn.Linear(64, classes)
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class ResNet(nn.Module):
    """With torchvision's names; small=True: the stem for images of up to 64 pixels."""

    def __init__(self, block, blocks, channels, classes, small=False):
        super().__init__()
        self.conv1 = conv3x3(channels, 64) if small else nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for i, n in enumerate(blocks):
            setattr(self, f"layer{i + 1}", stage(block, inputs, 64 << i, n, 2 if i else 1))
            inputs = (64 << i) * block.expansion
        self.fc = nn.Linear(inputs, classes)
        self.relu = nn.ReLU()
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)

    def forward(self, x):
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def build(name, channels=3, size=32, classes=10, hidden=()):
    """The module of that name in src/models/models.def."""
    if name == "mlp":
        return Mlp(channels * size * size, hidden, classes)
    if name == "cnn":
        return Cnn(channels, size, classes)
    depth = int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))
    blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}.get(depth)
    if blocks is None:
        return CifarResNet(depth, channels, classes)
    block = PlainBlock if name.startswith("plain") else Bottleneck if depth >= 50 else BasicBlock
    return ResNet(block, blocks, channels, classes, size <= 64)
